"""What every room uses: nbformat without what it need not import."""

import subprocess
import sys

CODE = """
import sys
from importlib.util import find_spec
from workbench.files import import_nbformat
nbformat = import_nbformat()
assert nbformat.validate(nbformat.v4.new_notebook()) is None
assert "rfc3987_syntax" not in sys.modules
print("hidden" if find_spec("rfc3987_syntax") else "not installed")
"""


def test_nbformat_is_imported_without_a_grammar_of_addresses_which_can_be_imported_later():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("hidden", "not installed")
