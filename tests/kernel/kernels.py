"""A real kernel that runs cells one at a time, and keeps every message with its time."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field

from jupyter_client.manager import KernelManager

TIMEOUT = 120  # Seconds; a bound on hanging, not on speed.


@dataclass
class Execution:
    """What came back for one cell: its messages on the iopub channel, each with its time, and the reply."""

    submitted: float
    messages: list[tuple[float, dict]] = field(default_factory=list)  # (seconds since submitted, message)
    reply: dict = field(default_factory=dict)

    def of_type(self, *types):
        return [message["content"] for _, message in self.messages if message["msg_type"] in types]

    @property
    def displays(self):
        """The content of each display, update and result, in order."""
        return self.of_type("display_data", "update_display_data", "execute_result")

    @property
    def stdout(self):
        return "".join(content["text"] for content in self.of_type("stream") if content["name"] == "stdout")

    @property
    def stderr(self):
        return "".join(content["text"] for content in self.of_type("stream") if content["name"] == "stderr")

    @property
    def seconds(self):
        return self.messages[-1][0]


class LiveKernel:
    """A kernel that cells are sent to one by one; it can be interrupted in between."""

    def __init__(self):
        self.manager = KernelManager()
        self.manager.start_kernel()
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)
        self.executions = {}

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()

    def interrupt(self):
        self.manager.interrupt_kernel()

    def interrupt_once(self, when):
        """For `follow`: interrupt at the first message that `when` accepts.

        A second interrupt may reach the kernel between two cells, where ipykernel loses the reply.
        """
        waiting = [when]

        def on_message(message):
            if waiting and when(message):
                waiting.clear()
                self.interrupt()

        return on_message

    def submit(self, code, **metadata):
        """Send a cell, with a front end's metadata, without waiting for it; give the result to `follow`."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": False, "stop_on_error": True}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        message_id = message["header"]["msg_id"]
        self.executions[message_id] = Execution(time.monotonic())
        self.client.shell_channel.send(message)
        return message_id

    def follow(self, message_id, on_message=None):
        """Read messages until the cell is done; `on_message` sees each of its messages as it arrives."""
        execution = self.executions[message_id]
        while not any(content["execution_state"] == "idle" for content in execution.of_type("status")):
            try:
                message = self.client.get_iopub_msg(timeout=TIMEOUT)
            except queue.Empty:
                raise TimeoutError(f"the kernel said nothing for {TIMEOUT} seconds") from None
            parent = self.executions.get(message["parent_header"].get("msg_id"))
            if parent is None:
                continue
            parent.messages.append((time.monotonic() - parent.submitted, message))
            if parent is execution and on_message is not None:
                on_message(message)
        while not execution.reply:
            reply = self.client.get_shell_msg(timeout=TIMEOUT)
            answered = self.executions.get(reply["parent_header"].get("msg_id"))
            if answered is not None:
                answered.reply = reply["content"]
        return execution

    def run(self, code, on_message=None, *, cell=None):
        """Send a cell and read until it is done; `cell` is its id, where the front end sends one."""
        return self.follow(self.submit(code, **({"cellId": cell} if cell else {})), on_message)
