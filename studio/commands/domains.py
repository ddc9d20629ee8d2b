"""`duet domains`: domains of one's own, learned from pictures."""

from pathlib import Path

from composer.added_words import check_name
from composer.domain import Domain, read_domain, write_domain
from studio.commands.domain_choice import learn_from_files
from studio.commands.options import DomainsOptions
from studio.commands.outputs import OutputRules, plan_output, save_all
from studio.commands.shared import open_engine, print_json, print_line, translate_save_errors
from studio.domains import DomainStore, SavedDomain, domain_tokens, preset_named
from studio.engine import Engine
from studio.errors import UsageError

SUFFIX = ".safetensors"


def run(options: DomainsOptions) -> int:
    """List, learn, remove or export saved domains.

    Raises:
        UsageError: The arguments do not fit the action, or a name is taken or unknown.
        InputError: A name cannot stand in a text.
        WeightsError: A domain is damaged.
    """
    store = DomainStore()
    match options.action, options.name:
        case "list", None:
            _list(store, as_json=options.json)
        case "list", name:
            raise UsageError(f"duet domains list takes no name, got {name!r}.")
        case action, None:
            raise UsageError(f"Name the domain: duet domains {action} NAME.")
        case "add", name:
            _add(store, name, options)
        case "remove", name:
            _remove(store, name, options)
        case _, name:
            _export(store, name, options)
    return 0


def _list(store: DomainStore, *, as_json: bool) -> None:
    saved = store.saved()
    if as_json:
        print_json({"folder": str(store.folder), "domains": [_as_json(one) for one in saved]})
        return
    for one in saved:
        if one.domain is None:
            print_line(f"{one.name}: {one.problem}")
        else:
            print_line(f"{one.name}: {_about(one.domain)}")
    if not saved:
        print_line("There is no saved domain yet: duet domains add NAME PICTURES learns one.")


def _about(domain: Domain) -> str:
    how = "by the converter" if domain.tokens is None else "by inversion"
    return f"{_count(domain)}, for the kit {domain.kit!r}, {how}."


def _count(domain: Domain) -> str:
    return "1 example" if len(domain.examples) == 1 else f"{len(domain.examples)} examples"


def _as_json(saved: SavedDomain) -> dict[str, object]:
    if saved.domain is None:
        return {"name": saved.name, "problem": saved.problem}
    domain = saved.domain
    return {
        "name": saved.name,
        "kit": domain.kit,
        "text_hash": domain.text_hash,
        "examples": list(domain.examples),
        "inverted": domain.tokens is not None,
    }


def _add(store: DomainStore, name: str, options: DomainsOptions) -> None:
    check_name(name)
    store.check_free(name)
    if not options.files:
        raise UsageError(f"Give pictures of the domain: duet domains add {name} PICTURES.")
    engine = open_engine(options.kit)
    if preset_named(engine, name) is not None:
        raise UsageError(
            f"{name!r} is a domain of the kit {engine.kit.name!r} itself; choose another name."
        )
    domain = _new_domain(engine, name, options)
    path = store.folder / f"{name}{SUFFIX}"
    with translate_save_errors(path):
        store.add(domain)
    if options.json:
        print_json({"path": str(path), "name": name, "num_examples": len(domain.examples)})
    else:
        print_line(f"{name}: {_about(domain)}")
        print_line(f"Use it: duet transfer PHOTO --to {name} --output PNG")


def _new_domain(engine: Engine, name: str, options: DomainsOptions) -> Domain:
    """Learn a domain, or read an exported one."""
    first = options.files[0]
    if first.suffix.lower() != SUFFIX:
        return learn_from_files(engine, name, options.files, options.learning, "the examples")
    if len(options.files) > 1 or options.learning.like_subject or options.learning.inverts:
        raise UsageError("An exported domain is added alone, without other files or options.")
    domain = read_domain(first, name)
    domain_tokens(engine, domain)
    return domain


def _remove(store: DomainStore, name: str, options: DomainsOptions) -> None:
    if options.files:
        raise UsageError("duet domains remove takes one name.")
    with translate_save_errors(store.folder / f"{name}{SUFFIX}"):
        store.remove(name)
    if options.json:
        print_json({"removed": name})
    else:
        print_line(f"{name} was removed.")


def _export(store: DomainStore, name: str, options: DomainsOptions) -> None:
    if len(options.files) != 1:
        raise UsageError(f"Name the file to write: duet domains export {name} FILE{SUFFIX}.")
    domain = store.read(name)
    file = store.find(name)
    rules = OutputRules(
        option="FILE",
        suffix=SUFFIX,
        why="as that is what a domain is stored in",
        inputs=() if file is None else (file,),
        overwrite=options.overwrite,
    )
    path = plan_output(options.files[0], rules)

    def write(target: Path) -> None:
        write_domain(target, domain)

    (path,) = save_all([path], [write], overwrite=options.overwrite)
    if options.json:
        print_json({"path": str(path), "name": domain.name})
    else:
        print_line(f"{path}: add it elsewhere with: duet domains add NAME {path}")
