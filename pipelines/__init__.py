"""The roof: jobs, settings, Ray and the command line. Nobody imports this package."""
