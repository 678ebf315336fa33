"""Sentences that both client libraries' adapters say."""


def too_large(topic: str, size_bytes: int, limit_bytes: int) -> str:
    return (
        f"a record of {size_bytes} bytes for topic {topic} is larger than allowed: kafka.max_message_bytes is "
        f"{limit_bytes}, and the topic's max.message.bytes must allow it too; raise both"
    )


def brokers_away(servers: str) -> str:
    return f"no Kafka broker answers at {servers}; it is tried again"


def silent(servers: str, silence_s: float) -> str:
    return f"the Kafka brokers at {servers} sent nothing for {silence_s:g} s in the middle of a read; try again"
