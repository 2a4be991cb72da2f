"""The verb `ingest` as a Ray job: `ray job submit --working-dir . -- python jobs/ingest.py -c configs/quickstart.yaml key=value`."""

import sys

from xmr_ray.cli import main

if __name__ == "__main__":
    main(["ingest", *sys.argv[1:]])
