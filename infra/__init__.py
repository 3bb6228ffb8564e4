"""What runs around the code: services on one machine (`python -m infra.services`), compose, KubeRay, bucket policies.

Not part of the wheel.
"""
