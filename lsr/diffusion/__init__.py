"""Diffusion as pure functions: schedules, parameterisations, samplers, weightings.

Imports torch, lsr.core and lsr.nn only.
"""
