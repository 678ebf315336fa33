"""Kafka: the record ports on two client libraries, topics, and the order of flush and commit.

`driver.open_source`, `open_sink` and `open_reader` choose the client library by `kafka.driver`; nothing else in the
project names one. Only the chosen library is imported.
"""
