"""The rows of one running batch: who sits where, which token each takes next.

A round is ``compact``, then ``resume`` and ``start`` for what was asked, then ``advance``: choose
one token for every row at work and run one step. Plain synchronous code over one model.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from air_reasoning.models.forward import extend_row, prefill, step
from air_reasoning.models.kv_rows import KVRows
from air_reasoning.models.load import LoadedModel
from air_reasoning.models.sampling import choose, uniforms
from air_reasoning.models.token_text import TokenText
from air_reasoning.samplers.base import SampleRequest

COMPACT_AT = 0.85


@dataclass(kw_only=True, slots=True)
class Turn:
    """One request being answered; ``reason`` is set once it has ended."""

    request: SampleRequest
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    reason: Literal["stop", "length", "context"] | None = None


@dataclass(kw_only=True, slots=True)
class _Row:
    """One trajectory's row. ``ids`` are the tokens whose keys and values are in the buffer.

    ``feed`` are tokens to force next. ``turn`` is None between turns.
    """

    trajectory_id: str
    ids: list[int]
    shift: int
    n_images: int
    feed: deque[int] = field(default_factory=deque[int])
    turn: Turn | None = None
    released: bool = False


@dataclass(kw_only=True, slots=True)
class _Plan:
    """What sampling needs of the rows that sample, as tensors; made anew when the rows change."""

    rows: list[int]
    index: torch.Tensor
    temperatures: torch.Tensor
    top_p: torch.Tensor | None
    seeds: list[int]
    bans: tuple[torch.Tensor, torch.Tensor]


class RunningBatch:
    """All live trajectories of one sampler."""

    def __init__(self, loaded: LoadedModel, max_context: int, force_limit: int) -> None:
        """``force_limit``: suffixes of up to so many tokens are forced step by step."""
        self.loaded = loaded
        self.max_context = max_context
        self.force_limit = force_limit
        self.token_text = TokenText(loaded.tokenizer)
        self._may_end_known: dict[tuple[int, tuple[str, ...]], bool] = {}
        self._placeholders = torch.tensor(
            loaded.placeholder_ids, dtype=torch.long, device=loaded.device
        )
        self._clear()

    def __len__(self) -> int:
        """Trajectories that hold a row."""
        return len(self._by_id)

    def __contains__(self, trajectory_id: str) -> bool:
        """Whether the trajectory holds a row."""
        return trajectory_id in self._by_id

    @property
    def busy(self) -> bool:
        """Whether any row is at work."""
        return any(row.turn for row in self._rows)

    def release(self, trajectory_id: str) -> None:
        """Give the row up; harmless when there is none."""
        row = self._by_id.pop(trajectory_id, None)
        if row is not None:
            row.released, row.turn, self._plan = True, None, None

    def compact(self) -> None:
        """Drop given-up rows once they are 15 % of the batch."""
        live = [i for i, row in enumerate(self._rows) if not row.released]
        if not live:
            self._clear()
        elif len(live) <= COMPACT_AT * len(self._rows):
            self._kv.keep(live)
            self._hidden = self._hidden[torch.tensor(live, device=self._hidden.device)]
            self._rows = [self._rows[i] for i in live]
            self._plan = None

    def resume(self, turn: Turn) -> bool:
        """Continue the trajectory's row; False if the request does not extend what the row holds.

        Such a row is given up, and the request is as good as new.
        """
        request = turn.request
        row = self._by_id[request.trajectory_id]
        if request.token_ids[: len(row.ids)] != row.ids:
            self.release(request.trajectory_id)
            return False
        row.turn, self._plan = turn, None
        if len(row.ids) == len(request.token_ids):
            row.ids.pop()  # nothing new: the last token is run again, for its hidden state
        suffix = request.token_ids[len(row.ids) :]
        self._kv.reserve(self._room(request))
        if len(suffix) <= self.force_limit and len(request.images) == row.n_images:
            row.feed.extend(suffix)
            return True
        index = self._rows.index(row)
        self._hidden[index], row.shift = extend_row(
            self.loaded, self._kv, index, request.token_ids, len(row.ids), request.images
        )
        row.ids, row.n_images = list(request.token_ids), len(request.images)
        return True

    def start(self, turns: Sequence[Turn], prefill_tokens: int) -> None:
        """New rows: each prompt is run once, its states are copied to the rows that share it."""
        for groups in _prefill_batches(turns, prefill_tokens):
            requests = [group[0].request for group in groups]
            images = [image for request in requests for image in request.images]
            done = prefill(self.loaded, [request.token_ids for request in requests], images)
            sources = [source for source, group in enumerate(groups) for _ in group]
            self._kv.add(done.cache, sources, max(self._room(request) for request in requests))
            hidden = done.hidden[torch.tensor(sources, device=done.hidden.device)]
            self._hidden = torch.cat([self._hidden, hidden]) if self._rows else hidden
            members = [turn for group in groups for turn in group]
            for source, turn in zip(sources, members, strict=True):
                self._add_row(turn, done.position_shift[source])

    def advance(self) -> list[Turn]:
        """Choose a token for each row at work and run it; returns the turns that ended."""
        tokens = {
            i: row.feed.popleft() for i, row in enumerate(self._rows) if row.turn and row.feed
        }
        ended = self._sample(tokens)
        if tokens:
            self._step(tokens)
        return ended

    def _clear(self) -> None:
        text = self.loaded.model.config.get_text_config()
        self._kv = KVRows(text.num_hidden_layers, self.loaded.device)
        self._hidden = torch.empty(0, device=self.loaded.device)
        self._rows: list[_Row] = []
        self._by_id: dict[str, _Row] = {}
        self._plan: _Plan | None = None

    def _add_row(self, turn: Turn, shift: int) -> None:
        request = turn.request
        row = _Row(
            trajectory_id=request.trajectory_id,
            ids=list(request.token_ids),
            shift=shift,
            n_images=len(request.images),
            turn=turn,
        )
        self._rows.append(row)
        self._by_id[row.trajectory_id] = row
        self._plan = None

    def _room(self, request: SampleRequest) -> int:
        """Columns that the request may come to need, one to spare for a dummy."""
        return min(self.max_context, len(request.token_ids) + request.params.max_tokens) + 1

    def _sample(self, tokens: dict[int, int]) -> list[Turn]:
        """Add a sampled token to ``tokens`` for each row that is not forced and goes on."""
        plan = self._planned(tokens) if tokens else self._plan or self._planned(tokens)
        # Who is forced now may sample next: such a plan serves once.
        self._plan = None if tokens else plan
        if not plan.rows:
            return []
        logits = self._logits(plan)
        places = [len(self._rows[i].ids) for i in plan.rows]
        numbers = torch.from_numpy(uniforms(plan.seeds, places)).to(logits.device)
        ids, logprobs = choose(logits, plan.temperatures, plan.top_p, numbers)
        ended: list[Turn] = []
        picks = zip(plan.rows, ids.tolist(), logprobs.tolist(), strict=True)
        for n, (i, token, logprob) in enumerate(picks):
            turn = self._rows[i].turn
            if turn is None:
                continue
            while self._ends_in(turn, token, turn.request.params.banned_texts):
                logits[n, token] = -torch.inf
                token, logprob = _choose_one(logits, plan, numbers, n)
            if self._take(self._rows[i], turn, token, logprob):
                ended.append(turn)
            else:
                tokens[i] = token
        return ended

    def _planned(self, forced: dict[int, int]) -> _Plan:
        rows = [i for i, row in enumerate(self._rows) if row.turn and i not in forced]
        params = [turn.request.params for i in rows if (turn := self._rows[i].turn)]
        device = self.loaded.device
        bans = [(n, token) for n, p in enumerate(params) for token in p.banned_ids]
        top_p = [p.top_p for p in params]
        return _Plan(
            rows=rows,
            index=torch.tensor(rows, dtype=torch.long, device=device),
            temperatures=torch.tensor([p.temperature for p in params], device=device),
            top_p=torch.tensor(top_p, device=device) if any(p < 1 for p in top_p) else None,
            seeds=[p.seed for p in params],
            bans=(
                torch.tensor([n for n, _ in bans], dtype=torch.long, device=device),
                torch.tensor([token for _, token in bans], dtype=torch.long, device=device),
            ),
        )

    def _logits(self, plan: _Plan) -> torch.Tensor:
        """``[rows that sample, vocabulary]`` in fp32, banned ids at -inf."""
        hidden = self._hidden
        if len(plan.rows) < len(self._rows):
            hidden = hidden.index_select(0, plan.index)
        logits: torch.Tensor = self.loaded.model.lm_head(hidden).float()
        logits[:, self._placeholders] = -torch.inf
        logits[plan.bans] = -torch.inf
        return logits

    def _take(self, row: _Row, turn: Turn, token: int, logprob: float) -> bool:
        """Record a sampled token; True if it ends the turn. The token is not run until then."""
        params = turn.request.params
        stopped = token in params.stop_ids or self._ends_in(turn, token, params.stop_texts)
        turn.ids.append(token)
        turn.logprobs.append(logprob)
        if turn.request.on_token is not None:
            turn.request.on_token(token)
        if stopped:
            turn.reason = "stop"
        elif len(turn.ids) >= params.max_tokens:
            turn.reason = "length"
        elif len(row.ids) + 1 >= self.max_context:
            turn.reason = "context"
        else:
            return False
        row.turn, self._plan = None, None
        return True

    def _ends_in(self, turn: Turn, token: int, texts: tuple[str, ...]) -> bool:
        """Whether ``token`` completes one of ``texts`` in the turn's text."""
        if not texts or not self._may_end(token, texts):
            return False
        piece = self.token_text.piece(token)
        before = self.token_text.decode(turn.ids[-max(map(len, texts)) :])
        return any(text in before[max(0, len(before) - len(text) + 1) :] + piece for text in texts)

    def _may_end(self, token: int, texts: tuple[str, ...]) -> bool:
        """Whether the token's text holds the end of one of ``texts``; looked up once a token."""
        may = self._may_end_known.get((token, texts))
        if may is None:
            piece = self.token_text.piece(token)
            may = self._may_end_known[token, texts] = any(
                text in piece or any(piece.startswith(text[-n:]) for n in range(1, len(text)))
                for text in texts
            )
        return may

    def _step(self, tokens: dict[int, int]) -> None:
        """Run one token of every row; rows that are not at work run a dummy behind their end."""
        ids = [tokens.get(i, 0) for i in range(len(self._rows))]
        columns = [len(row.ids) for row in self._rows]
        shifts = [row.shift for row in self._rows]
        self._hidden = step(self.loaded, self._kv, ids, columns, shifts)
        for i, token in tokens.items():
            self._rows[i].ids.append(token)


def _choose_one(
    logits: torch.Tensor, plan: _Plan, numbers: torch.Tensor, n: int
) -> tuple[int, float]:
    """Choose again for one row, after one more token was banned there."""
    one = slice(n, n + 1)
    top_p = None if plan.top_p is None else plan.top_p[one]
    token, logprob = choose(logits[one], plan.temperatures[one], top_p, numbers[one])
    return int(token), float(logprob)


def _prefill_batches(turns: Sequence[Turn], prefill_tokens: int) -> Iterable[list[list[Turn]]]:
    """Turns of one group and prompt share a list; so many lists as fit in ``prefill_tokens``."""
    shared: dict[object, list[Turn]] = {}
    for turn in turns:
        request = turn.request
        key = (request.group_id or request.trajectory_id, tuple(request.token_ids))
        shared.setdefault(key, []).append(turn)
    batch: list[list[Turn]] = []
    widest = 0
    for group in shared.values():
        length = len(group[0].request.token_ids)
        if batch and max(widest, length) * (len(batch) + 1) > prefill_tokens:
            yield batch
            batch, widest = [], 0
        batch.append(group)
        widest = max(widest, length)
    if batch:
        yield batch
