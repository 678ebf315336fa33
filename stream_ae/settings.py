"""What a person can set, in groups; `configuration` reads it from a file and the environment."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
Range = tuple[float | None, float | None]
Limits = Annotated[dict[str, Range], BeforeValidator(lambda v: yaml.safe_load(v) if isinstance(v, str) else v)]
Slot = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,100}$")]


class Group(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class KafkaSettings(Group):
    bootstrap_servers: str = Field("localhost:9092", description="host:port, comma-separated")
    driver: Literal["auto", "confluent", "kafka-python"] = Field("auto", description="auto = confluent if installed")
    group_id: str = Field("stream-ae", description="consumer group; workers of one group share the partitions")
    start: Literal["earliest", "latest"] = Field("earliest", description="where a group without offsets begins")
    group_protocol: Literal["auto", "classic", "consumer"] = Field(
        "auto", description="consumer = KIP-848; auto = KIP-848 where driver and broker have it"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="as the brokers ask for"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="how to log in, of a SASL_ protocol"
    )
    sasl_username: str | None = Field(None, description="of a SASL_ protocol")
    sasl_password: SecretStr | None = Field(None, description="of a SASL_ protocol; shown masked")
    ssl_ca_file: Path | None = Field(
        None, description="PEM of who signs the brokers' certificates; default: those of the system"
    )
    connect_timeout_s: Seconds = Field(5.0, description="no answer within this time at start = exit 2")
    delivery_timeout_s: Seconds = Field(30.0, description="an output not acknowledged by then is an error")
    transaction_timeout_s: Annotated[float, Field(ge=1, le=900)] = Field(
        20.0, description="exactly_once: what a dead worker left open is aborted by then"
    )
    static_membership: bool = Field(False, description="members keep their slot: a quick restart moves no partitions")
    session_timeout_s: Seconds = Field(10.0, description="a worker silent for this long loses its partitions")
    max_poll_interval_s: Seconds = Field(300.0, description="a worker that does not poll for this long is out")
    max_message_bytes: Positive = Field(1_000_000, description="largest output; the brokers' limit must allow it")
    linger_ms: Annotated[int, Field(ge=0)] = Field(5, description="how long the producer gathers a batch")
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field("none", description="of what is written")


class TopicSettings(Group):
    raw: Topic = Field("raw", description="what is read: sensor records or frames")
    cleaned: Topic = Field("cleaned", description="every record again, denoised")
    flagged: Topic = Field("flagged", description="anomalies, explained")
    dead_letters: Topic = Field("dead-letters", description="what could not be read, and why")
    latent: Topic | None = Field(None, description="the codes of every record's samples; default: not published")
    feedback: Topic | None = Field(None, description="what operators call normal or an anomaly; default: not read")

    @model_validator(mode="after")
    def _all_different(self) -> "TopicSettings":
        names = self.names()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"topics must differ; used twice: {', '.join(twice)}")
        return self

    def names(self) -> list[str]:
        """Of all topics that are used."""
        used = self.raw, self.cleaned, self.flagged, self.dead_letters, self.latent, self.feedback
        return [name for name in used if name]


class RedisSettings(Group):
    url: SecretStr = Field(SecretStr("redis://localhost:6379/0"), description="may hold a password: shown masked")
    timeout_s: Seconds = Field(1.0, description="one call to Redis, connection included")


class MlflowSettings(Group):
    tracking_uri: str = Field("http://localhost:5000", description="a server; sqlite:///... works with full mlflow")
    timeout_s: Seconds = Field(4.0, description="one try of a call to MLflow; there are two")


class DecodeSettings(Group):
    records: Literal["json", "images"] = Field("json", description="images: each record is a frame (extra `images`)")
    stream_field: str = Field("stream", description="name of the stream id in the record")
    stream_from: Literal["field", "key", "either"] = Field("either", description="either = the field, else the key")
    timestamp_field: str = Field("timestamp", description="where a sample's time is")
    values_field: str = Field("values", description="where the channels are")
    max_clock_skew_s: Seconds = Field(300.0, description="a sample further ahead of its record's Kafka time is refused")
    duplicate_timestamp: Literal["accept", "dead_letter"] = Field(
        "accept", description="a sample with the timestamp of the one before it, of the same stream"
    )
    max_missing: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="more of a record is a dead letter")


class ImageSettings(Group):
    max_pixels: Positive = Field(4096 * 4096, description="larger frames are dead letters, before they are decoded")
    threads: Positive = Field(1, description="threads that decode and encode frames beside the model's")
    lossy: bool = Field(False, description="what came as JPEG leaves as JPEG again, not as PNG")
    regions: Annotated[int, Field(ge=0, le=100)] = Field(
        5, description="boxes of the worst regions in a flagged record"
    )
    error_map: bool = Field(True, description="a small PNG of where the errors are, in each flagged record")


class DecideSettings(Group):
    close_after: Annotated[int, Field(ge=1, le=1000)] = Field(
        3, description="an event closes at so many quiet samples in a row; 1 = at the first"
    )
    limits: Limits = Field({}, description="{channel: [lowest, highest]}, null = open; outside is flagged at any score")


class BatchSettings(Group):
    max_records: Positive = Field(2048, description="a batch closes at so many records")
    max_bytes: Positive = Field(8 * 1024 * 1024, description="or so many bytes")
    max_values: Positive = Field(8 * 1024 * 1024, description="pixels of all frames of a batch; one frame always fits")
    max_age_s: Seconds = Field(0.05, description="the oldest record of a batch waits this long at most")
    idle_flush_s: Seconds = Field(5.0, description="with look-ahead: an idle stream's pending samples are let go")
    state_ttl_s: Seconds = Field(3600.0, description="a stream silent for longer starts afresh (record time)")


class DeadLetterSettings(Group):
    max_in_a_row: Positive = Field(1000, description="more broken records of a partition in a row stop the worker")
    max_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="more than this share of a partition's newest records broken stops the worker; 1 = never"
    )
    share_over: Positive = Field(10_000, description="so many of the newest records, or a few more, has max_share")


class WorkerSettings(Group):
    name: str | None = Field(None, description="default: host name and process id")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto = CUDA where present")
    threads: Positive = Field(1, description="CPU threads of the model; start more workers rather than more threads")
    cache_dir: Path = Field(Path("~/.cache/stream-ae"), description="model versions, by content digest")
    http_host: str = Field(
        "127.0.0.1", description="where /healthz, /readyz and /metrics answer; 0.0.0.0 = every network"
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(0, description="health and metrics; 0 = a free port")
    slot: Slot | None = Field(
        None, description="stable name of this worker's place, such as its StatefulSet ordinal; default: from Redis"
    )
    commit_interval_s: Seconds | None = Field(
        None, description="outputs are flushed and offsets committed this often; default 0.5, exactly_once 0.1"
    )
    reconcile_interval_s: Seconds = Field(5.0, description="desired version looked up this often, nudged or not")
    heartbeat_s: Seconds = Field(2.0, description="status written to Redis this often; it expires after 3 of them")
    drain_timeout_s: Seconds = Field(30.0, description="SIGTERM: finish what is in flight within this time")
    stall_after_s: Annotated[float, Field(gt=0)] = Field(
        60.0, description="a stage without progress for this long makes the worker stalled and not ready"
    )
    stall_exit_s: Annotated[float, Field(gt=0)] = Field(
        300.0, description="after this the process exits with 75, for its supervisor to start it again"
    )

    @model_validator(mode="after")
    def _said_before_the_end(self) -> "WorkerSettings":
        if self.stall_exit_s < self.stall_after_s:
            raise ValueError(f"stall_exit_s {self.stall_exit_s} must not be below stall_after_s {self.stall_after_s}")
        return self


ModelKind = Literal[
    "auto", "dense", "conv1d", "variational", "conv1d-variational", "conv2d", "conv2d-variational", "conv2d-spatial"
]

DenoiserKind = Literal["auto", "autoencoder", "unet", "none"]


class TrainingSettings(Group):
    model: ModelKind = Field(
        "auto", description="auto = dense, of frames conv2d; variational, spatial: can be sampled from"
    )
    window: Annotated[int, Field(ge=2, le=4096)] = Field(32, description="samples the model sees at once")
    lookahead: Annotated[int, Field(ge=0)] = Field(0, description="newer samples a sample waits for")
    seed: int = Field(0, description="of weights, noise and the held-out part: training again is the same")
    max_epochs: Positive = Field(15, description="fitting stops after so many passes over the data")
    patience: Positive = Field(4, description="epochs without a better validation loss before training stops")
    time_budget_s: Annotated[float, Field(gt=0)] | None = Field(
        None, description="fitting stops after this long, within an epoch if need be; default: by patience alone"
    )
    batch_size: Positive = Field(256, description="windows a step of fitting")
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="step size of Adam")
    beta: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of a variational model's code length")
    free_bits: Annotated[float, Field(ge=0)] = Field(0.0, description="of each latent dimension, that cost nothing")
    denoiser: DenoiserKind = Field(
        "auto",
        description="auto = the autoencoder where that beats leaving a channel alone; unet = with a U-Net beside it",
    )
    denoiser_steps: Positive = Field(6000, description="how long a U-Net is trained")
    diffusion_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="how long a diffusion prior of conv2d-spatial is trained, to sample from; 0 = none"
    )
    clean: bool = Field(False, description="the training data is free of noise: a U-Net learns to take added noise off")
    false_alarm_rate: Rate = Field(0.005, description="share of normal samples that may be flagged")
    threads: Positive = Field(1, description="CPU threads; two on two busy cores took ten times as long as one")

    @model_validator(mode="after")
    def _lookahead_fits(self) -> "TrainingSettings":
        if self.lookahead >= self.window:
            raise ValueError(f"lookahead {self.lookahead} must be smaller than window {self.window}")
        return self

    @model_validator(mode="after")
    def _prior_over_spatial_codes(self) -> "TrainingSettings":
        if self.diffusion_steps and self.model != "conv2d-spatial":
            raise ValueError(f"diffusion_steps {self.diffusion_steps} need model conv2d-spatial, not {self.model}")
        return self


class RetrainSettings(Group):
    since: Literal["span", "last"] = Field(
        "span", description="last = only from where the champion's span ended, within retrain.span_s"
    )
    span_s: Seconds = Field(7 * 86_400.0, description="how far back from now to collect, by Kafka time")
    max_samples: Positive = Field(1_000_000, description="samples kept at most, where there are more")
    keep: Literal["newest", "spread"] = Field(
        "newest", description="which ones then; spread = blocks of 32 windows, evenly over the whole span"
    )
    min_samples: Positive = Field(500, description="fewer are refused")
    tolerance: Annotated[float, Field(ge=0)] = Field(0.05, description="share that a challenger may be worse by")
    promote: Literal["gate", "always", "never"] = Field(
        "gate", description="gate = if no criterion is worse than the champion's; never = register only"
    )
    watch_s: Seconds = Field(30.0, description="workers must stay healthy on it for so long, else the champion is back")
    rollout_timeout_s: Seconds = Field(60.0, description="workers must report the new version by then")
    lock_lease_s: Seconds = Field(30.0, description="a dead owner's lock is free after this")
    holdout_share: Annotated[float, Field(gt=0, lt=0.9)] = Field(0.2, description="newest part kept for calibration")
    check_data: bool = Field(
        True, description="noise and constants are refused, what a sensor says while it is stuck is left out"
    )
    checkpoint_dir: Path | None = Field(
        None, description="what a retraining that is killed goes on from; default: in worker.cache_dir"
    )
    resume_within_s: Seconds = Field(86_400.0, description="one that began longer ago begins anew; 0 = always anew")


ProfileKind = Literal["threshold", "full"]


class AdaptSettings(Group):
    kind: ProfileKind = Field("threshold", description="what is a stream's own; full = centre and scale as well")
    span_s: Annotated[float, Field(gt=0)] = Field(2 * 86_400.0, description="how far back from now, by Kafka time")
    max_samples: Positive = Field(1_000_000, description="newest samples kept, of all streams together")


class ScheduleSettings(Group):
    cron: str = Field("0 3 * * *", description="five fields; 0 and 7 are Sunday")
    adapt_cron: str | None = Field(
        None, description="when profiles are learnt anew, such as '30 * * * *'; off if empty"
    )
    time_zone: str = Field("UTC", description="what the cron expressions are in, such as Europe/Berlin")
    jitter_s: Seconds = Field(0.0, description="each run begins later by a random part of this")
    misfire: Literal["run_once", "skip"] = Field(
        "run_once", description="runs that were missed: one makes up for all of them; or skip those over the grace"
    )
    misfire_grace_s: Seconds = Field(3600.0, description="skip: a run that is late by no more is not missed")
    job_timeout_s: Seconds = Field(3600.0, description="a retraining that runs longer is ended")


class MonitorSettings(Group):
    every_s: Annotated[float, Field(gt=0)] = Field(60.0, description="workers are looked at, MLflow written this often")
    drift_psi: Annotated[float, Field(gt=0)] = Field(
        0.25, description="population stability index of the scores that is drift; over when it is below half of that"
    )
    input_drift_psi: Annotated[float, Field(gt=0)] | None = Field(
        0.25, description="the same of a channel's inputs, where they do not differ as much by nature; null = no drift"
    )
    drift_looks: Positive = Field(5, description="drift must hold for so many looks in a row")
    drift_samples: Positive = Field(2000, description="the newest samples that the index is of, at least")
    picture_every_s: Annotated[float, Field(gt=0)] | None = Field(
        3600.0, description="a picture of the worst windows goes to MLflow this often (needs matplotlib); null = never"
    )
    retrain_on_drift: bool = Field(False, description="drift runs a retraining, beside those of the schedule")
    retrain_cooldown_s: Seconds = Field(6 * 3600.0, description="from one retraining for drift to the next, at least")


class LogSettings(Group):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="messages below it are left out")


class Settings(Group):
    """Everything a person can set."""

    pipeline: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,100}$")] = Field(
        "default", description="registered model in MLflow, Redis key prefix: one name for one model's life"
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once", description="exactly_once: outputs and offsets in one transaction; needs confluent-kafka"
    )
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    redis: RedisSettings = RedisSettings()
    mlflow: MlflowSettings = MlflowSettings()
    decode: DecodeSettings = DecodeSettings()
    images: ImageSettings = ImageSettings()
    decide: DecideSettings = DecideSettings()
    batch: BatchSettings = BatchSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    worker: WorkerSettings = WorkerSettings()
    training: TrainingSettings = TrainingSettings()
    retrain: RetrainSettings = RetrainSettings()
    adapt: AdaptSettings = AdaptSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    monitor: MonitorSettings = MonitorSettings()
    log: LogSettings = LogSettings()

    @property
    def profiles(self) -> str:
        """Where the profiles of the pipeline's streams live: registered model in MLflow, Redis key prefix."""
        return f"{self.pipeline}-profiles"

    @property
    def shadow(self) -> str:
        """Redis key prefix of the challenger that scores beside the champion."""
        return f"{self.pipeline}-shadow"

    @property
    def checkpoint_dir(self) -> Path:
        """Where the pipeline's unfinished retraining is."""
        return (self.retrain.checkpoint_dir or self.worker.cache_dir).expanduser() / self.pipeline / "retrain"

    @property
    def commit_interval_s(self) -> float:
        """With exactly_once an output is seen when its transaction is committed, so the interval is its latency."""
        if self.worker.commit_interval_s is not None:
            return self.worker.commit_interval_s
        return 0.1 if self.delivery == "exactly_once" else 0.5
