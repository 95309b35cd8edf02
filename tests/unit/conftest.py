"""How long Hypothesis looks: a moment in every run of the tests, long in `make fuzz`."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz", max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
