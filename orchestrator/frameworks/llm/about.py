"""Language models, in plain values."""

from __future__ import annotations

from orchestrator.frameworks.about import Framework, Library, RunnerAbout, SchemeAbout
from orchestrator.trial import TrialKind

#: Tokens of a prompt, or generated, in one sequence.
LONGEST = 16_384

LLAMA = RunnerAbout(
    name="llama",
    kinds=frozenset((TrialKind.TIMING, TrialKind.MEMORY)),
    lacks={
        TrialKind.ACCURACY: "language models are scored on text, which no task here is about yet",
        TrialKind.PROFILE: "the library gives no times of single operators",
    },
    libraries=(Library("xllamacpp"),),
    factors={"prompt": range(1, LONGEST + 1), "generate": range(1, LONGEST + 1)},
    batches=False,
    measured_in=("llamacpp",),
)

#: What files of the user's may be besides, and what llama.cpp calls the mixes made of it.
_OTHERS = {
    "q5_1": "",
    "q2_k": "q2_k(_s)?",
    "q3_k": "q3_k(_[sml])?",
    "q4_k": "q4_k(_[sm])?",
    "q5_k": "q5_k(_[sm])?",
    "q6_k": "",
    "iq4_nl": "",
    "iq4_xs": "",
    "mxfp4": "",
}

FRAMEWORK = Framework(
    name="llm",
    label="llama.cpp",
    parts="orchestrator.frameworks.llm.parts",
    runners=(LLAMA,),
    schemes=(
        SchemeAbout("float16"),
        SchemeAbout("q8_0", phrase="storing the weights of {model} in 8.5 bits (q8_0)"),
        SchemeAbout("q5_0", phrase="storing the weights of {model} in 5.5 bits (q5_0)"),
        SchemeAbout("q4_1", phrase="storing the weights of {model} in 5 bits (q4_1)"),
        SchemeAbout("q4_0", phrase="storing the weights of {model} in 4.5 bits (q4_0)"),
        *(SchemeAbout(name, words=words, built=False) for name, words in _OTHERS.items()),
    ),
    endings=(".gguf",),
    builder="gguf and libgguf",
    packages=("gguf", "libgguf"),  # the weights' package the builder asks for itself
    extra="llm",
    suite="llm-quick",
    takes="GGUF",
)
