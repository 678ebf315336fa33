"""The record ports on confluent-kafka (librdkafka)."""
