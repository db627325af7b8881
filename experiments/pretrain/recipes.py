"""The sizes of every stage, for the shipped folder and for a quick test of the stages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from architecture import Shape
from dictionaries import DictionaryRecipe
from joint import JointRecipe
from language_model import LanguageModelRecipe


@dataclass(frozen=True)
class Recipes:
    """Everything that decides what the stages make."""

    shape: Shape = field(default_factory=Shape)
    tokenizer_passages: int = 60_000
    language_model: LanguageModelRecipe = field(default_factory=LanguageModelRecipe)
    stream: DictionaryRecipe = field(
        default_factory=lambda: DictionaryRecipe(active=40, samples=1_000_000)
    )
    parts: DictionaryRecipe = field(default_factory=DictionaryRecipe)
    transcoder: DictionaryRecipe = field(default_factory=DictionaryRecipe)
    joint: tuple[JointRecipe, ...] = (
        JointRecipe(),
        JointRecipe(tokens=3_000_000, active_first=24, active=16, rate=5e-4, seed=22),
    )
    joint_seed: int = 202
    joint_generated_share: float = 0.4
    test_prompts: int = 300
    story_rows: int = 400
    dictionary_story_rows: int = 150
    mixture_rows: int = 1600
    description: str = "a GPT-2 of children's stories, small enough to travel with the code"
    command: str = "python experiments/pretrain/run.py --corpus DIR --out DIR"

    @classmethod
    def tiny(cls) -> Recipes:
        """A recipe that runs every stage in less than a minute and teaches nothing."""
        few = DictionaryRecipe(features=256, active=8, samples=20_000, batch=512)
        return cls(
            shape=Shape(layers=2, width=32, heads=2, hidden=64),
            tokenizer_passages=2_000,
            language_model=LanguageModelRecipe(tokens=40_000, report_every=2, save_every=2),
            stream=few,
            parts=few,
            transcoder=few,
            joint=(JointRecipe(tokens=8_000, active_first=8, active=6, report_every=2),),
            test_prompts=20,
            story_rows=32,
            mixture_rows=64,
        )

    @classmethod
    def reseeded(cls, seed: int, *, tiny: bool = False) -> Recipes:
        """A recipe for the stream's dictionaries alone, with another seed and less text.

        They are tuned together on 1 million tokens, the shipped ones on 13 million; both end with
        16 active features.
        """
        base = replace(cls.tiny(), shape=Shape()) if tiny else cls()
        joint = base.joint[0] if tiny else JointRecipe(tokens=1_000_000, active=16)
        script = "experiments/pretrain/reseeded.py"
        return replace(
            base,
            stream=replace(base.stream, seed=seed, samples=min(base.stream.samples, 250_000)),
            parts=replace(base.parts, seed=seed),
            joint=(replace(joint, seed=seed),),
            command=f"python {script} --corpus DIR --out DIR --seeds {seed}",
        )
