"""Diffusion as pure functions: schedules, parameterisations, samplers, weightings."""
