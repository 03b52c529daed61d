"""Virtual time: coroutines that sleep, on one heap.

A part of the world is a generator; what it yields is how many seconds pass until it goes on.
"""
import heapq
import itertools


class Engine:
    def __init__(self, start):
        self.now = start
        self._heap = []
        self._order = itertools.count()

    def at(self, moment, call):
        heapq.heappush(self._heap, (max(moment, self.now), next(self._order), call))

    def spawn(self, coroutine, moment=None):
        """Run COROUTINE from MOMENT on."""
        def step():
            pause = next(coroutine, None)
            if pause is not None:
                self.at(self.now + pause, step)
        self.at(self.now if moment is None else moment, step)

    def run(self, until):
        while self._heap and self._heap[0][0] <= until:
            self.now, _, call = heapq.heappop(self._heap)
            call()
        self.now = until
