"""Reads TensorBoard's event files back, without TensorBoard."""

from tensorboardX.proto import event_pb2


def read_events(folder):
    """Yields the events of a member's folder in the order in which TensorBoard reads them."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:  # a record: its length (8 bytes), a checksum (4), itself, another checksum (4)
            length = int.from_bytes(data[:8], "little")
            yield event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def shown_scalars(folder, tag):
    """Returns the (step, value) pairs that TensorBoard shows for a tag.

    Where a file starts anew at a step, it hides what it has read of this step and of later ones.
    """
    shown = []
    for event in read_events(folder):
        if event.session_log.status == event_pb2.SessionLog.START:
            shown = [(step, value) for step, value in shown if step < event.step]
        shown += [(event.step, v.simple_value) for v in event.summary.value if v.tag == tag]
    return shown
