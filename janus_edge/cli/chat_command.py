"""`janus-edge chat`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from janus_edge.cli.console import print_json
from janus_edge.errors import CapacityError, InputError

if TYPE_CHECKING:
    from janus_edge.runtime.chat import Chat
    from janus_edge.runtime.pipeline import Janus

_HELP = """Type a question and Enter. Commands:
  /image FILE   show the model a picture with your next question
  /new          start over
  /quit         leave (or Ctrl-D); Ctrl-C stops an answer"""


@click.command(short_help="Ask about pictures, once or in a conversation.")
@click.argument("bundle", type=click.Path())
@click.argument("question", required=False)
@click.option(
    "-i", "--image", "images", multiple=True, type=click.Path(), help="A picture; may be repeated."
)
@click.option("--max-new-tokens", default=512, show_default=True, help="Longest answer.")
@click.option("--temperature", default=0.0, show_default=True, help="0 is greedy.")
@click.option(
    "--top-p", default=1.0, show_default=True, help="Draw from the most probable tokens only."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option(
    "--capacity",
    type=int,
    help="Tokens that a conversation can hold; 2048, or all positions of a smaller model.",
)
@click.option("--threads", default=0, help="Processor threads; 0 takes one per core.")
@click.option("--no-verify", is_flag=True, help="Do not check the hashes of the files used.")
@click.option("-v", "--verbose", is_flag=True, help="Show the plan of the memory first.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the answer as JSON (needs a QUESTION)."
)
def chat(
    bundle: str, question: str | None, images: tuple[str, ...], max_new_tokens: int,
    temperature: float, top_p: float, seed: int, capacity: int | None, threads: int, no_verify: bool,
    verbose: bool, as_json: bool,
) -> None:  # fmt: skip
    """Ask about pictures: one QUESTION, or a conversation when none is given.

    Example:  janus-edge chat janus-1b --image fox.png "What animal is this?"
    """
    from janus_edge.runtime.pipeline import Janus

    if as_json and question is None:
        raise InputError("--json answers one question: give the QUESTION as an argument")
    settings: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed,
    }  # fmt: skip
    with Janus.load(bundle, threads=threads, verify=not no_verify) as janus:
        if verbose:
            click.echo(janus.chat_memory(capacity), err=True)
        conversation = janus.chat(capacity=capacity)
        janus.open_images(images)  # a wrong --image now, not with every question
        if question is None:
            _converse(janus, conversation, list(images), settings, capacity)
        elif as_json:
            _print_answer(conversation, question, images, settings)
        else:
            _say(conversation, question, list(images), settings)


def _print_answer(
    conversation: Chat, question: str, images: tuple[str, ...], settings: dict[str, Any]
) -> None:
    answer = conversation.ask(question, list(images), **settings)
    print_json(
        {
            "text": answer.text,
            "token_ids": list(answer.token_ids),
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.prompt_tokens,
        }
    )


def _say(conversation: Chat, question: str, images: list[str], settings: dict[str, Any]) -> None:
    """Stream one answer to the screen; Ctrl-C ends it and keeps the conversation."""
    with conversation.stream(question, images, **settings) as pieces:
        try:
            for piece in pieces:
                click.echo(piece, nl=False)
                sys.stdout.flush()
        except KeyboardInterrupt:
            click.echo(" [stopped]", nl=False, err=True)
    click.echo()


def _converse(
    janus: Janus,
    conversation: Chat,
    images: list[str],
    settings: dict[str, Any],
    capacity: int | None,
) -> None:
    click.echo(_HELP, err=True)
    while True:
        try:
            line = click.prompt("you", prompt_suffix="> ", err=True).strip()
        except (click.exceptions.Abort, EOFError):
            click.echo(err=True)
            return
        command, _, rest = line.partition(" ")
        if command in ("/quit", "/exit"):
            return
        if command == "/new":
            conversation, images = janus.chat(capacity=capacity), []
        elif command == "/image":
            try:
                janus.open_images(rest.strip())
                images.append(rest.strip())
            except InputError as error:
                click.echo(error, err=True)
        elif command.startswith("/"):
            click.echo(_HELP, err=True)
        else:
            try:
                _say(conversation, line, images, settings)
                images = []
            except (InputError, CapacityError) as error:
                click.echo(error, err=True)
