"""How fast this package's engines are on the machine at hand, measured honestly; see `running`."""

from saecircuits.benchmark.page import write as write
from saecircuits.benchmark.report import sheets as sheets
from saecircuits.benchmark.report import to_json as to_json
from saecircuits.benchmark.running import benchmark as benchmark
