"""What a version was trained on, as a dataset of its run in MLflow."""

import json
from collections.abc import Mapping, Sequence

from mlflow.entities import Dataset, DatasetInput, InputTag

from stream_ae.digest import fingerprint

TAG = "stream_ae."
# What is said of the source itself; whatever else there is describes the records.
SOURCE = ("topic", "partitions", "offsets", "times")
PROFILE = (
    "records", "samples", "kept", "rejected", "flagged", "excluded", "taken_in", "duplicates", "backwards",
)  # fmt: skip


def dataset_of(tags: Mapping[str, str], channels: Sequence[str]) -> DatasetInput | None:
    """The records that tags of a version name; None if they name none, as of a version from files.

    MLflow's own class for datasets without content, `MetaDataset`, knows no source such as Kafka; its page shows what
    the entity says.
    """
    told = {name: tags[TAG + name] for name in (*SOURCE, *PROFILE) if TAG + name in tags}
    if not {"topic", "offsets"} <= set(told):
        return None
    source = {name: told[name] for name in SOURCE if name in told}
    schema = {"mlflow_colspec": [{"name": name, "type": "float", "required": False} for name in channels]}
    dataset = Dataset(
        name=told["topic"],
        digest=fingerprint([source]),
        source_type="kafka",
        source=json.dumps(source),
        schema=json.dumps(schema),
        profile=json.dumps({name: int(told[name]) for name in PROFILE if name in told}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
