"""One job in this process: read as JSON from the command line, answered in JSON on the last line.

python -m saecircuits.benchmark.one '{"kind": "nodes", ...}'
"""

import json
import sys

from saecircuits.benchmark.jobs import Job, carry_out

if __name__ == "__main__":
    found = carry_out(Job.from_json(json.loads(sys.argv[1])))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
