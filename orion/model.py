"""Resolve a student: a checkpoint folder, a hub revision or a served model → model.json with its digests and sizes.

Run: ``python -m orion.model --config JSON --name NAME --output O [--checkpoint DIR]`` (the folder of a model made here).
"""

from orion import checkpoints, provenance, served, stage, tables


def described(name: str, config: dict, checkpoint: str | None) -> dict:
    """The model.json document of an entry of ``models``; ``checkpoint``: the folder of a model made here."""
    source = {"kind": "path", "path": checkpoint} if checkpoint else config["source"]
    if source["kind"] == served.KIND:
        return served.describe(name, source, context_length=config["context_length"])
    document = checkpoints.describe(
        checkpoints.resolve(source),
        name=name,
        chat_template_file=config.get("chat_template"),
        context_length=config.get("context_length"),
        dtype=config["dtype"],
        trust_remote_code=config["trust_remote_code"],
        repo=source.get("repo"),
        revision=source.get("revision"),
    )
    # what a server calls it decides no completion, so it is outside the digest
    alias = (config.get("server") or {}).get("served_model")
    return {**document, "served_model": alias} if alias else document


def main(argv: list[str] | None = None) -> None:
    made = stage.parser(__doc__, "name", "output")
    made.add_argument(
        "--checkpoint", metavar="DIR", help="folder of a checkpoint that the workflow made itself"
    )
    args = made.parse_args(argv)
    config = args.config
    document = described(args.name, config, args.checkpoint)
    size = f"{document['parameters']:,} parameters" if document["parameters"] else "served"
    stage.log(f"{args.name}: {size}, context {document['context_length']}")
    tables.write_json(document, args.output, provenance.record("orion.model", config, {}))


if __name__ == "__main__":
    stage.run(main)
