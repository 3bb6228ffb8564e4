"""The vocabulary that every other package uses; it knows neither torch nor a service."""
