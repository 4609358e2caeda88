"""TensorBoard event files. Needs the extra `tensorboard`; TensorFlow is not needed, and not loaded."""

import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event as Record
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from oneflower.codes import Phase
from oneflower.journal import TrainingState
from oneflower.journal.state.records import RoundResult
from oneflower.monitor.tracking.tracker import parameters, scalars


class TensorBoardTracker:
    """Writes into one folder, which is one run for TensorBoard.

    A start record makes TensorBoard drop the points from its step on: so a resumed training shows the rounds
    that count, and tracking a journal a second time into the same folder does not show it twice.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(folder))

    def begin(self, view: TrainingState) -> None:
        """Write the parameters as a text."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in parameters(view).items() if value != "")
        text = TensorProto(
            dtype=DT_STRING,
            string_val=[f"| parameter | value |\n|---|---|\n{rows}".encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag="parameters/text_summary", metadata=plugin, tensor=text)
        self._write(view.done, summary=Summary(value=[value]))

    def rewind(self, after: int) -> None:
        """Have TensorBoard drop what was written of later rounds."""
        self._write(after + 1, session_log=SessionLog(status=SessionLog.START))

    def completed(self, result: RoundResult, left_out: int) -> None:
        """Write the round's numbers at its step."""
        found = scalars(result, left_out)
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in found.items()]
        at = result.time.timestamp() if result.time else None
        self._write(result.number, at, summary=Summary(value=values))
        self._writer.flush()

    def finish(self, outcome: Phase) -> None:
        """Write what is left; event files know no end."""
        del outcome
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, step: int, at: float | None = None, **content: Summary | SessionLog) -> None:
        self._writer.add_event(Record(wall_time=at or time.time(), step=step, **content))
