"""The methods that DiffSegLung is compared with."""
