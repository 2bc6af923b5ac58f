# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""message_filters' policies, re-enacted from their documented semantics, for machines where the package is absent."""

from __future__ import annotations

from collections import defaultdict, deque


def stamp_ns(message):
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec


class ExactTime:
    """A set goes out when every topic has given a message of one stamp; older incomplete ones are dropped then."""

    def __init__(self, topics, queue_size=20):
        self._topics, self._queue_size = set(topics), queue_size
        self._waiting = defaultdict(dict)
        self.sets, self.dropped = [], 0

    def add(self, topic, message):
        stamp = stamp_ns(message)
        self._waiting[stamp][topic] = message
        if self._waiting[stamp].keys() == self._topics:
            self.sets.append(self._waiting.pop(stamp))
            for older in [waiting for waiting in self._waiting if waiting < stamp]:
                del self._waiting[older]
                self.dropped += 1
        while len(self._waiting) > self._queue_size:
            del self._waiting[min(self._waiting)]
            self.dropped += 1


class ApproximateTime:
    """Queues of each topic; a set is the messages nearest to the latest of the queues' heads, within `slop_s`."""

    def __init__(self, topics, queue_size=10, slop_s=0.05):
        self._queues = {topic: deque(maxlen=queue_size) for topic in topics}
        self._slop_ns = slop_s * 1e9
        self.sets = []

    def add(self, topic, message):
        self._queues[topic].append(message)
        while all(self._queues.values()):
            pivot = max(stamp_ns(queue[0]) for queue in self._queues.values())
            chosen = {
                name: min(queue, key=lambda message: abs(stamp_ns(message) - pivot))
                for name, queue in self._queues.items()
            }
            stamps = [stamp_ns(message) for message in chosen.values()]
            for name, queue in self._queues.items():
                while queue and stamp_ns(queue[0]) <= stamp_ns(chosen[name]):
                    queue.popleft()
            if max(stamps) - min(stamps) <= self._slop_ns:
                self.sets.append(chosen)
