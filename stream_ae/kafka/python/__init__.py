"""The record ports on kafka-python, pure Python and always installed."""
