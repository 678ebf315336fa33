"""The Kafka ports, one adapter per client library."""
