"""Training the model of a run folder (§5): the loop, the choice of an epoch, resuming."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object, set_seed
from torch import Tensor, nn
from transformers import get_scheduler

from mtab.audio import SAMPLE_RATE
from mtab.config import from_dict, to_dict
from mtab.data import Corpus, Problem
from mtab.data.clips import add_clips
from mtab.errors import ConfigError, EngineError, MtabError
from mtab.files import write_json, write_text
from mtab.preprocess import Preprocessor
from mtab.progress import Progress, progress, say
from mtab.provenance import Calibration
from mtab_train import plots
from mtab_train.batch_model import BatchModel, Step
from mtab_train.batches import Batch, ExampleDataset, class_weights
from mtab_train.calibration import calibrated, calibration_scores, fit_temperature
from mtab_train.checkpoint import (
    TrainerState,
    load_average,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from mtab_train.config import TrainConfig
from mtab_train.encoder_cache import EncoderCache, frozen_outputs
from mtab_train.examples import Example, lengths, prepare
from mtab_train.lora import merge_adapters, without_adapters
from mtab_train.losses import (
    CorpusCrossEntropy,
    Distillation,
    concordance_loss,
    likeness_loss,
    supervised_contrastive,
)
from mtab_train.metrics import chance_of
from mtab_train.micro_batches import MicroBatches, loss_share
from mtab_train.model import MulTAB, count_parameters
from mtab_train.optimizer import parameter_groups
from mtab_train.results import Results, format_ccc
from mtab_train.run import (
    CALIBRATION,
    CONFUSION_MATRIX,
    CURVES,
    METRICS,
    PREDICTIONS,
    RESULTS,
    Run,
    TeacherConfig,
    run_parts,
    unlabelled_corpus,
)
from mtab_train.sampling import evaluation_batches, training_batches
from mtab_train.scoring import (
    Answers,
    answer,
    answer_scores,
    classes,
    in_order,
    to_device,
    write_predictions,
)
from mtab_train.teacher import Lessons, Teacher, open_teacher, teach

PROBLEMS_SHOWN = 10


def drop_modalities(batch: Batch, probability: float) -> None:
    """Take one modality, either as often, from utterances that have both, each with ``probability``."""
    audio_lengths = "audio_frames" if "audio_frames" in batch else "audio_lengths"
    both = (batch[audio_lengths] > 0) & (batch["text_lengths"] > 0)
    draw = torch.rand(len(both), device=both.device)
    for name, dropped in (
        (audio_lengths, draw < probability / 2),
        ("text_lengths", draw > 1 - probability / 2),
    ):
        batch[name] = batch[name].masked_fill(both & dropped, 0)


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """What to say of utterances that are skipped: the first few, and how many they are."""
    lines = [f"skipped: {problem}" for problem in problems[:PROBLEMS_SHOWN]]
    if len(problems) > PROBLEMS_SHOWN:
        lines.append(f"... {len(problems)} problems skipped in all")
    return lines


def make_accelerator(device: str, config: TrainConfig) -> Accelerator:
    """``device`` is auto, cpu or cuda; asked for, it is used or `EngineError` is raised."""
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"device cuda: torch {torch.__version__} sees no GPU, expected one; see --device")
    # What an earlier training in this process chose does not bind this one.
    AcceleratorState._reset_state()
    try:
        return Accelerator(
            cpu=device == "cpu",
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            # Layer dropout and absent modalities leave parameters without a gradient.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    except ValueError as error:
        raise EngineError(f"mixed precision {config.mixed_precision}: not to be had here ({error})") from None


class Trainer:
    """Trains the model of a run folder, from the newest state in it; each epoch ends with another.

    ``corpus`` is what the run's configuration names, as `mtab.data.validate` leaves it. Utterances that this
    model cannot use are skipped and said.
    """

    def __init__(
        self, run: Run, corpus: Corpus, device: str = "auto", workers: int = 0, cache: bool = True
    ) -> None:
        self.run = run
        self.config = run.train
        self.workers = workers
        self.accelerator = make_accelerator(device, self.config)
        self.preprocess = Preprocessor.from_folder(run.folder)
        self.teacher = None if run.config.teacher is None else self._open_teacher(run.config.teacher)
        self.lessons: Lessons | None = None
        self.train, self.validation, self.test = self._prepare(corpus)
        self.model = MulTAB.from_config(run.model).to(self.accelerator.device)
        self.batch_model = BatchModel(self.model, self.config).to(self.accelerator.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.batch_model, self.config), weight_decay=self.config.weight_decay
        )
        group = self.accelerator.num_processes * self.config.gradient_accumulation_steps
        self.steps_per_epoch = -(-len(self.batches(0)) // group)
        state = load_state(run.folder, self.batch_model, self.optimizer)
        # A schedule that had ended is not stretched: the epochs that are added have one of their own.
        self.ends = state.ends
        steps = self.steps_per_epoch * (self.config.epochs - state.begun_after)
        self.scheduler = get_scheduler(
            self.config.lr_scheduler_type, self.optimizer, round(self.config.warmup_ratio * steps), steps
        )
        weights = None
        if self.config.class_weights == "balanced":
            weights = class_weights(self.train, run.model.corpora).to(self.accelerator.device)
        smoothing = self.config.label_smoothing_factor
        self.loss = nn.CrossEntropyLoss(weights, label_smoothing=smoothing)
        if run.model.classifier_heads == "corpus":
            self.loss = CorpusCrossEntropy(run.model.corpora, weights, smoothing).to(self.accelerator.device)
        if self.teacher is not None:
            share, temperature = self.config.distillation_weight, self.config.distillation_temperature
            self.loss = Distillation(share, temperature, weights, smoothing).to(self.accelerator.device)
        device, processes = self.accelerator.device, self.accelerator.num_processes
        self.training = MicroBatches(run.folder, device, training=True, processes=processes)
        self.answering = MicroBatches(run.folder, device)
        self.average = load_average(run.folder, self.batch_model, self.config.ema_decay)
        self.history, self.best, self.seconds = list(state.history), state.best, state.seconds
        self._restore(state)
        self.cache = EncoderCache(self.model) if cache and frozen_outputs(run.model) else None
        if self.cache is not None:
            with self.accelerator.main_process_first():
                self.cache.fill(self.model, self.preprocess, self.train, self.config.augment_copies)
                self.cache.fill(self.model, self.preprocess, [*self.validation, *self.test])

    def _open_teacher(self, config: TeacherConfig) -> Teacher:
        teacher = open_teacher(config.folder)
        if teacher.config.sha256 != config.sha256:
            raise ConfigError(
                f"{config.folder}: has changed since {self.run.folder} was begun, expected the same teacher"
            )
        return teacher

    def _prepare(self, corpus: Corpus) -> Sequence[tuple[Example, ...]]:
        """The examples to train on, to choose an epoch by, and to score."""
        problems, self.clips_cut, examples = list(corpus.problems), 0, []
        unlabelled = unlabelled_corpus(self.run)
        if unlabelled is not None:
            problems += unlabelled.problems
        shortest = self.preprocess.config.min_samples / SAMPLE_RATE
        if self.config.max_seconds is not None and self.config.max_seconds < shortest:
            raise ConfigError(
                f"--max-seconds is {self.config.max_seconds:g}, expected at least {shortest:g}, one frame"
            )
        parts = run_parts(self.run, corpus)
        for name in ("training", "validation", "test"):
            utterances = getattr(parts, name)
            if unlabelled is not None and name == "training":
                utterances += unlabelled.utterances
            limit = self.config.max_seconds if name == "training" else None
            prepared = prepare(
                corpus, utterances, self.preprocess, self.run.model, limit, f"reading {name} part"
            )
            examples.append(prepared.examples)
            problems += prepared.problems
            self.clips_cut += prepared.clips_cut
        if self.teacher is not None:
            taught, self.lessons, unanswered = self._ask(examples[0], self.config.augment_copies)
            examples[0] = tuple(taught)
            problems += unanswered
            # Of the test part too before hours of training: it may have no answer to any of it.
            self.examined, self.exam, _ = self._ask(examples[2])
        if self.accelerator.is_main_process:
            add_clips(self.run.folder, (each.clip for each in examples[0] if each.clip is not None))
        # By the paper's protocol one part selects and is scored.
        self.problems = tuple(dict.fromkeys(problems))
        for line in problem_lines(self.problems):
            self._say(line)
        if self.clips_cut:
            self._say(f"{self.clips_cut} training clips cut to {self.config.max_seconds:g} s")
        return examples

    def _ask(
        self, examples: Sequence[Example], variants: int = 0
    ) -> tuple[list[Example], Lessons, list[Problem]]:
        """As `teach`, the teacher asked by one process."""
        assert self.teacher is not None
        with self.accelerator.main_process_first():
            return teach(self.teacher, examples, self.run.model.labels, self.accelerator.device, variants)

    def _restore(self, state: TrainerState) -> None:
        """A state's scheduler and scaler, once there was a step."""
        if state.scheduler is not None:
            self.scheduler.load_state_dict(state.scheduler)
            for group, rate in zip(self.optimizer.param_groups, state.scheduler["_last_lr"], strict=True):
                group["lr"] = rate
        if state.scaler is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)

    def _say(self, line: str) -> None:
        """Print a line, once, above the progress."""
        if self.accelerator.is_main_process:
            say(line)

    def _shown(self, desc: str, total: int, unit: str, done: int = 0) -> AbstractContextManager[Progress]:
        """Progress, shown by one process."""
        if self.accelerator.is_main_process:
            return progress(desc, total, unit, done)
        return nullcontext(Progress(desc, total, unit, done))

    def batches(self, epoch: int) -> list[list[int]]:
        """All processes' batches of an epoch, the same for the same seed."""
        random = np.random.default_rng([self.config.seed, epoch])
        return training_batches(lengths(self.train), self.config.batch_size, random, self.config.bucketing)

    def _own(self, batches: list[list[int]]) -> list[list[int]]:
        """This process's share; all get as many, so the first batches may serve twice."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        share = -(-len(batches) // world)
        return [batches[(i * world + rank) % len(batches)] for i in range(share)]

    def fit(self) -> Results:
        """Train to the last epoch, score the test utterances; returns what ``results.json`` says."""
        for _ in self.epochs():
            pass
        return self._finish()

    def epochs(self) -> Iterator[dict[str, Any]]:
        """Train an epoch at a time, keep its state, and give its row of ``metrics.jsonl``."""
        model, optimizer = self.accelerator.prepare(self.batch_model, self.optimizer)
        board = self._open_board(len(self.history)) if self.accelerator.is_main_process else None
        with self._shown("training", self.config.epochs, "epochs", len(self.history)) as shown:
            while len(self.history) < self.config.epochs and not self._patience_is_over():
                begun = time.perf_counter()
                row = self._epoch(model, optimizer, len(self.history) + 1)
                row["seconds"] = round(time.perf_counter() - begun, 3)
                self.seconds += row["seconds"]
                self.history.append(row)
                improved = self._is_best(row)
                if improved:
                    self.best = row
                if self.accelerator.is_main_process:
                    self._record(row, improved, board)
                shown.update()
                yield row
        if len(self.history) < self.config.epochs:
            self._say(
                f"stopped after epoch {len(self.history)}: none was better for {self.config.patience} epochs"
            )
        if board is not None:
            board.close()
        self.accelerator.wait_for_everyone()

    def _patience_is_over(self) -> bool:
        if self.config.patience is None or self.best is None:
            return False
        begun = self.ends[-1] if self.ends else 0
        return len(self.history) - max(self.best["epoch"], begun) >= self.config.patience

    def _epoch(self, model: nn.Module, optimizer: Any, epoch: int) -> dict[str, Any]:
        # Seeded anew each epoch, so that an epoch depends on the state before it and on nothing else.
        set_seed(int(np.random.SeedSequence([self.config.seed, epoch]).generate_state(1)[0]))
        model.train()
        batches = self._own(self.batches(epoch))
        dataset = ExampleDataset(
            self.train,
            self.preprocess,
            self.cache,
            spelled=self.config.ctc_weight > 0,
            dimensions=self.run.model.dimensions,
            variants=self._variants(epoch),
            lessons=self.lessons,
        )
        total, right, seen, waited = 0.0, 0, 0, 0.0
        begun = time.perf_counter()
        loaded = dataset.batches(batches, self.workers)
        group = self.config.gradient_accumulation_steps
        with self._shown(f"epoch {epoch}", len(batches), "batches") as shown:
            for start in range(0, len(batches), group):
                indices = batches[start : start + group]
                examples = [[self.train[index] for index in batch] for batch in indices]
                asked = time.perf_counter()
                taken = list(islice(loaded, len(indices)))
                waited += time.perf_counter() - asked
                if self.run.model.modality_dropout:
                    for batch in taken:
                        drop_modalities(batch, self.run.model.modality_dropout)
                gradients = partial(self._gradients, model, optimizer, taken)
                lost, answered = self.training.fit(gradients, examples)
                if self.config.max_grad_norm is not None:
                    self.accelerator.clip_grad_norm_(model.parameters(), self.config.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                self.scheduler.step()
                if self.average is not None:
                    self.average.update_parameters(self.batch_model)
                total, right, seen = total + lost, right + answered, seen + sum(map(len, examples))
                shown.describe(f"epoch {epoch}, loss {total / seen:.3f}")
                shown.update(len(taken))
        self._require_finite(f"the loss of epoch {epoch}", total)
        seconds = round(time.perf_counter() - begun, 3)
        row: dict[str, Any] = {
            "epoch": epoch,
            "learning_rate": self.scheduler.get_last_lr()[0],
            "train": {
                "loss": total / seen,
                "war": right / seen,
                "seconds": seconds,
                "data_seconds": round(waited, 3),
            },
        }
        if self._selects_on is not None:
            answering = self.batch_model if self.average is None else self.average
            selection, _ = self._evaluate(answering, self.validation, self._selects_on)
            self._require_finite(f"the {self._selects_on} loss of epoch {epoch}", selection["loss"])
            row[self._selects_on] = selection
        return row

    def _gradients(self, model: nn.Module, optimizer: Any, batches: Sequence[Batch]) -> tuple[float, int]:
        """Add up the gradients of a step; the sum of its utterances' losses, and how many were right."""
        # An attempt that ran out of memory may have left some.
        optimizer.zero_grad()
        parts = [(part, batch) for batch in batches for part in self.training.parts(batch)]
        total, right = 0.0, 0
        for number, (part, batch) in enumerate(parts, start=1):
            counts = loss_share(part, batch, self.loss.weight)
            part = to_device(part, self.accelerator.device)
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(model):
                step = model(part)
                loss = counts * self._loss(step, part)
                self.accelerator.backward(loss)
            total += loss.item() * len(batch["labels"])
            logits = self.batch_model.own_classes(step.output.logits, part["labels"])
            right += int((logits.argmax(dim=1) == part["labels"]).sum())
        return total, right

    def _require_finite(self, name: str, loss: float) -> None:
        if not np.isfinite(loss):
            raise MtabError(
                f"{self.run.folder}: {name} is {loss}, expected a number; try a lower --learning-rate"
            )

    def _variants(self, epoch: int) -> list[int] | None:
        """Which variant of each training clip is heard in an epoch, 0 for itself."""
        if not self.config.augment_copies:
            return None
        random = np.random.default_rng([self.config.seed, epoch, 1])
        return random.integers(0, self.config.augment_copies, len(self.train), endpoint=True).tolist()

    def _loss(self, step: Step, batch: Batch) -> Tensor:
        output, labels = step.output, batch["labels"]
        named = ["labels", "annotated", "teacher_logits"] if self.lessons is not None else ["labels"]
        true = [batch[name] for name in named]
        loss = self.loss(output.logits, *true)
        if step.mix is not None:
            others = self.loss(output.logits, *(each[step.mix.partners] for each in true))
            loss = step.mix.share * loss + (1 - step.mix.share) * others
        if self.lessons is not None and self.config.embedding_weight:
            taught = batch["teacher_embeddings"]
            taught = taught if step.mix is None else step.mix(taught)
            loss = loss + self.config.embedding_weight * likeness_loss(output.embeddings, taught)
        if output.dimensions is not None:
            rated = batch["dimensions"] if step.mix is None else step.mix(batch["dimensions"])
            loss = loss + concordance_loss(output.dimensions, rated)
        if self.config.supcon_weight:
            loss = loss + self.config.supcon_weight * supervised_contrastive(output.embeddings, labels)
        if step.spelling is not None:
            loss = loss + self.config.ctc_weight * step.spelling
        return loss

    @property
    def _selects_on(self) -> str | None:
        return {"honest": "validation", "paper": "test", "fixed": None}[self.config.protocol]

    def _evaluate(
        self, model: nn.Module, examples: Sequence[Example], name: str
    ) -> tuple[dict[str, Any], Answers]:
        """Scores and mean loss of the part ``name``, and its answers."""
        batches = evaluation_batches(lengths(examples), self.config.batch_size)
        own = batches[self.accelerator.process_index :: self.accelerator.num_processes]
        dataset = ExampleDataset(examples, self.preprocess, self.cache)
        with self._shown(f"answering {name} part", len(own), "batches") as shown:
            answers = answer(model, dataset, own, self.answering, self.workers, shown.update)
        found = in_order(gather_object(answers))
        return answer_scores(found, examples, self.run.model.labels, self.run.model.dimensions), found

    def _open_board(self, done: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.run.folder / "tensorboard", purge_step=done + 1)

    def _is_best(self, row: dict[str, Any]) -> bool:
        """By accuracy, among equals by loss; where nothing chooses the last."""
        if self.best is None or self._selects_on is None:
            return True
        new, old = row[self._selects_on], self.best[self._selects_on]
        return (new["war"], -new["loss"]) > (old["war"], -old["loss"])

    def _record(self, row: dict[str, Any], improved: bool, board: Any) -> None:
        """Keep what this epoch made: metrics, the weights if they are the best so far, the state last."""
        if improved:
            answering = self.batch_model if self.average is None else self.average.module
            assert isinstance(answering, BatchModel)
            save_weights(without_adapters(answering.model), self.run.weights)
        write_text(self.run.folder / METRICS, "".join(json.dumps(each) + "\n" for each in self.history))
        scaler = self.accelerator.scaler
        state = TrainerState(
            history=tuple(self.history),
            best=self.best,
            seconds=self.seconds,
            scheduler=self.scheduler.state_dict(),
            scaler=None if scaler is None else scaler.state_dict(),
            ends=self.ends,
        )
        epoch, selects_on = row["epoch"], self._selects_on
        save_state(self.run.folder, epoch, self.batch_model, self.optimizer, state, self.average)
        for part in filter(None, ("train", selects_on)):
            for key in ("loss", "war", "uar"):
                if key in row[part]:
                    board.add_scalar(f"{key}/{part}", row[part][key], epoch)
        board.add_scalar("learning_rate", row["learning_rate"], epoch)
        said = f"epoch {epoch:>3}/{self.config.epochs}  loss {row['train']['loss']:.3f}"
        if selects_on is None:
            said += f"  training WAR {row['train']['war']:.3f}"
        else:
            selection = row[selects_on]
            for name, ccc in selection.get("ccc", {}).items():
                if ccc is not None:
                    board.add_scalar(f"ccc_{name}/{selects_on}", ccc, epoch)
            chance = chance_of(selection["confusion_matrix"], self.run.model.corpora)
            said += (
                f"  {selects_on} WAR {selection['war']:.3f} (chance {chance.war:.3f}) UAR "
                f"{selection['uar']:.3f} (chance {chance.uar:.3f})"
            )
            said += f" {format_ccc(selection['ccc'])}" if "ccc" in selection else ""
        self._say(f"{said}  {row['seconds']:.1f} s")

    def _finish(self) -> Results:
        """Score the test utterances with the chosen epoch's weights, and write what a reader wants."""
        parameters = count_parameters(self.model)
        merge_adapters(self.model)
        load_weights(self.model, self.run.weights)
        test, answers = self._evaluate(self.batch_model, self.test, "test")
        calibration = self._calibrate(answers.logits)
        test["ece"] = to_dict(calibration.test.ece)
        assert self.best is not None
        written = {
            "protocol": self.config.protocol,
            "selected_epoch": self.best["epoch"],
            "epochs": len(self.history),
            "continued_after": list(self.ends),
            "selection": None if self._selects_on is None else self.best[self._selects_on],
            "test": test,
            "chance": to_dict(chance_of(test["confusion_matrix"], self.run.model.corpora)),
            "problems": len(self.problems),
            "clips_cut": self.clips_cut,
            "parameters": parameters,
            "seconds": round(self.seconds, 3),
            "teacher": None if self.teacher is None else self._beside(self.teacher, answers),
        }
        results = from_dict(Results, written, self.run.folder / RESULTS)
        if self.accelerator.is_main_process:
            folder, title = self.run.folder, f"{self.run.config.title}, {self.run.config.fold}"
            write_json(folder / CALIBRATION, to_dict(calibration))
            write_predictions(
                folder / PREDICTIONS,
                self.test,
                calibrated(answers.logits, calibration.temperature),
                self.run.model.labels,
                answers.dimensions,
                self.run.model.dimensions,
            )
            plots.save_curves(self.history, folder / CURVES, title)
            plots.save_confusion_matrix(
                test["confusion_matrix"], self.run.model.labels, folder / CONFUSION_MATRIX, title
            )
            write_json(folder / RESULTS, to_dict(results))
            shutil.rmtree(folder / "checkpoints")
        return results

    def _beside(self, teacher: Teacher, answers: Answers) -> dict[str, Any]:
        """The teacher on the test utterances that it can answer, and how often the student says the same."""
        places = {each.utterance.id: number for number, each in enumerate(self.test)}
        numbers = [places[each.utterance.id] for each in self.examined]
        logits = self.exam.logits[:, 0]
        found = Answers(logits, np.empty((len(numbers), 0), np.float32))
        return {
            "folder": str(teacher.folder),
            "test": answer_scores(found, self.examined, self.run.model.labels, ()),
            "agreement": float((answers.logits[numbers].argmax(axis=1) == logits.argmax(axis=1)).mean()),
            "heard": teacher.heard(self.examined),
        }

    def _calibrate(self, test_logits: np.ndarray) -> Calibration:
        """The temperature of the chosen epoch's weights, and what it does to the test utterances."""
        temperature, validation, reason = 1.0, None, None
        if self._selects_on == "validation":
            _, (logits, _) = self._evaluate(self.batch_model, self.validation, "validation")
            true = classes(self.validation)
            temperature = fit_temperature(logits, true)
            validation = calibration_scores(logits, true, temperature)
        else:
            protocol = self.config.protocol
            reason = f"protocol {protocol} has no validation split, and nothing is fitted on test data"
        test = calibration_scores(test_logits, classes(self.test), temperature)
        return Calibration(temperature, validation, test, reason)
