"""Property tests run on loaded machines: no deadline, no complaint about slow data."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("lsr-core", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lsr-core")
