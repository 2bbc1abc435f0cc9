"""Export a Hub model or a folder of one to a certified ONNX bundle.

    from onnxpipe_export import export

    report = export("sentence-transformers/all-MiniLM-L6-v2", "minilm", precision=("fp32", "int8"))
    print(report)

The exporter needs torch and transformers (`pip install "onnxpipe[export]"`); what it writes needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxpipe_export.convert import export
from onnxpipe_export.report import ExportReport

if TYPE_CHECKING:  # that this package is what the runtime calls
    import onnxpipe_export
    from onnxpipe.bundle.exporter import Exporter

    _checked: Exporter = onnxpipe_export

__all__ = ["ExportReport", "export"]
