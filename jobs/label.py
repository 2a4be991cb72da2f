"""The verb `label` as a Ray job: `ray job submit --working-dir . -- python jobs/label.py status -c /shared/people.yaml`."""

import sys

from xmr_ray.cli import main

if __name__ == "__main__":
    main(["label", *sys.argv[1:]])
