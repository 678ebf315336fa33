import subprocess
import sys

import pytest

PROGRAM = """
import sys
from stream_ae.kafka import driver
from stream_ae.settings import KafkaSettings
driver.open_sink(KafkaSettings(driver="{driver}", bootstrap_servers="{servers}")).close()
print("confluent_kafka" in sys.modules, "kafka" in sys.modules)
"""


@pytest.mark.parametrize(("name", "loaded"), [("confluent", "True False"), ("kafka-python", "False True")])
def test_opening_one_driver_leaves_the_other_alone(kafka_servers: str, name: str, loaded: str) -> None:
    program = PROGRAM.format(driver=name, servers=kafka_servers)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == loaded
