"""Quantize a manifest with Hugging Face Jobs: one for each shard of the calibration text, one that adds.

    python submit.py --image IMAGE --bucket acme/quantize --shards 3

The bucket holds quantize.yml, and gets `statistics/` and `output/`. Who is logged in (`hf auth login`) pays
for the jobs. Needs huggingface_hub 2.4 or newer. Run again, it makes only the shards that are not there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from huggingface_hub import HfApi, JobInfo, Volume

PROGRAM = "python /opt/app/entrypoint.py"
BUCKET = "/bucket"
"""Where it is mounted. Jobs work on their own disk, since a bucket is no file system with locks."""
SHARD = (
    f"{PROGRAM} calibrate {BUCKET}/quantize.yml --shard {{number}}/{{count}} --output /tmp/statistics"
    f" && mkdir -p {BUCKET}/statistics && cp -r /tmp/statistics/* {BUCKET}/statistics/"
)
RUN = (
    f"{PROGRAM} run {BUCKET}/quantize.yml --statistics {BUCKET}/statistics --output /tmp/output; code=$?;"
    f" cp -r /tmp/output {BUCKET}/; exit $code"
)


def main(arguments: Sequence[str] | None = None, *, poll_seconds: float = 10) -> int:
    """Start the shards' jobs, wait for them, start the one that adds them up; 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", required=True, help="the image of a release")
    parser.add_argument("--bucket", required=True, help="a bucket on the Hub, as in acme/quantize")
    parser.add_argument("--shards", type=int, required=True, help="over how many jobs the text is split")
    parser.add_argument(
        "--flavor", default="cpu-upgrade", help="the hardware of each job; default: cpu-upgrade"
    )
    options = parser.parse_args(arguments)
    api = HfApi()
    namespace = options.bucket.partition("/")[0]
    made = {file.path for file in api.list_bucket_tree(options.bucket, prefix="statistics", recursive=True)}

    def start(script: str) -> JobInfo:
        return api.run_job(
            image=options.image,
            command=["sh", "-c", script],
            flavor=options.flavor,
            timeout="6h",
            volumes=[Volume(type="bucket", source=options.bucket, mount_path=BUCKET)],
            namespace=namespace,
        )

    def failed(started: Sequence[JobInfo]) -> bool:
        ended = [api.wait_for_job(job.id, namespace=namespace, poll_interval=poll_seconds) for job in started]
        wrong = [job for job in ended if job.status.stage != "COMPLETED"]
        for job in wrong:
            print(f"{job.url}: {job.status.stage}", file=sys.stderr)
        return bool(wrong)

    shards = range(1, options.shards + 1)
    left = [
        number
        for number in shards
        if not any(path.endswith(f"/{number}-of-{options.shards}/statistics.json") for path in made)
    ]
    if failed([start(SHARD.format(number=number, count=options.shards)) for number in left]):
        return 1
    return int(failed([start(RUN)]))


if __name__ == "__main__":
    sys.exit(main())
