"""A log handler for Snakemake that writes the jobs of a dry run to a file, one JSON line each.

Snakemake finds it by its name on PYTHONPATH; ``orion plan`` uses it:
``snakemake --dry-run --logger planned-jobs --logger-planned-jobs-file jobs.jsonl``.
A line has rule, wildcards, outputs, threads and gpus; the line with ``stats`` is Snakemake's own
count of the jobs of each rule.
"""

import json
from dataclasses import dataclass, field
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """The options of the handler on the command line of Snakemake."""

    # Snakemake makes an option of the type, which cannot be a union
    file: str = field(
        default="", metadata={"help": "the file that gets the jobs", "required": True}
    )


class LogHandler(LogHandlerBase):
    """Writes what Snakemake tells of each job; all other messages go their usual way."""

    # Snakemake would announce a file of the handler as its log
    writes_to_stream = False
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        # the file exists also where nothing is to be done
        with open(self.settings.file, "w", encoding="utf-8"):
            pass

    def emit(self, record: LogRecord) -> None:
        """Append the line of a job or of the counts."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            line = {
                "rule": record.rule_name,
                "wildcards": dict(record.wildcards or {}),
                "outputs": [str(path) for path in record.output or ()],
                "threads": record.threads,
                "gpus": dict(record.resources.items()).get("gpu", 0),
            }
        elif event == LogEvent.RUN_INFO:
            line = {"stats": record.stats}
        else:
            return
        with open(self.settings.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
