"""Prefect flows, thin. Order, retries, schedules, cancellation and artifacts; the work is in lsr.stages.

Tasks do not cache: reuse is decided by the store alone.
"""
