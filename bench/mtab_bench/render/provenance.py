"""What every figure of a section rests on, in a line: utterances, model, machine."""

from mtab_bench.render.formats import count, seconds
from mtab_bench.report import Report
from mtab_bench.sections.batching import Batching
from mtab_bench.sections.invariance import Invariance
from mtab_bench.sections.section import Machine, Protocol, Section
from mtab_bench.sections.speed import Speed
from mtab_bench.sections.training import Training


def section_line(report: Report, section: Section) -> str:
    """The line that holds for every figure of a section."""
    match section:
        case Speed():
            weights = "random weights" if section.random_weights else "trained weights"
            parameters = "" if section.parameters is None else f"{count(section.parameters)} parameters, "
            parts = [
                f"{report.bundle.name}: {parameters}{weights}",
                "synthetic inputs",
                f"{section.timing.threads} threads",
                f"at least {section.min_seconds:g} s each",
            ]
        case Batching():
            durations = section.durations
            parts = [
                f"durations of {section.dataset}: {count(durations.count)} utterances",
                f"{seconds(durations.total_seconds)} of speech",
                f"engine {section.engine} in {section.precision}",
            ]
        case Invariance():
            of = "utterances" if section.protocol.fold is None else "test utterances"
            parts = [protocol_line(section.protocol, of), f"batches of {section.batch_size}"]
        case Training():
            parts = [
                protocol_line(section.protocol, "training utterances"),
                f"preset {section.preset}",
                f"{section.epochs} epochs",
            ]
        case _:
            assert section.protocol is not None
            parts = [protocol_line(section.protocol)]
    return "; ".join(parts)


def protocol_line(protocol: Protocol, of: str = "test utterances") -> str:
    """Corpus, fold, protocol, classes, utterances, problems, seed, hash; ``of`` says which utterances.

    Synthetic inputs have no fold.
    """
    parts = [protocol.title]
    if protocol.fold is not None:
        parts += [f"fold {protocol.fold} of {protocol.folds}", f"{protocol.protocol} protocol"]
    elif protocol.part is not None:
        parts.append(protocol.part)
    parts += [
        f"{len(protocol.classes)} classes",
        f"{protocol.utterances} {of}",
        f"problems skipped: {protocol.problem_count}",
        f"seed {protocol.seed}",
        f"corpus {protocol.corpus_sha256[:12]}",
    ]
    return "; ".join(parts)


def machine_line(machine: Machine) -> str:
    """Processor, cores, system and versions in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.cpu} ({', '.join(machine.instruction_sets or [machine.architecture])}), "
        f"{machine.cores.usable} cores, {machine.os}, Python {machine.python}, {versions}"
    )


def machines(report: Report) -> list[tuple[Machine, list[Section]]]:
    """Each machine that sections were measured on, and which these are."""
    found: list[tuple[Machine, list[Section]]] = []
    for section in report.sections.values():
        for machine, sections in found:
            if machine == section.machine:
                sections.append(section)
                break
        else:
            found.append((section.machine, [section]))
    return found


def machine_facts(machine: Machine) -> list[tuple[str, str]]:
    """What there is to say of a machine, a name and a value each."""
    physical = f", {machine.cores.physical} physical" if machine.cores.physical else ""
    versions = [f"Python {machine.python}", *(f"{name} {each}" for name, each in machine.versions.items())]
    return [
        ("processor", machine.cpu),
        ("instruction sets", ", ".join(machine.instruction_sets or [machine.architecture])),
        ("cores", f"{machine.cores.usable} usable{physical}"),
        ("system", machine.os),
        ("versions", ", ".join(versions)),
    ]
