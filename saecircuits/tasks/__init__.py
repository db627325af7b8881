"""Tasks: prompt pairs with named spans, the metric, files in and out, and the shipped families.

Read `loading` for the way through, `prompts` for what later stages receive.
"""

from saecircuits.tasks.families import FAMILIES as FAMILIES
from saecircuits.tasks.files import read_pairs as read_pairs
from saecircuits.tasks.files import write_pairs as write_pairs
from saecircuits.tasks.loading import Task as Task
from saecircuits.tasks.loading import check_task as check_task
from saecircuits.tasks.loading import load_task as load_task
from saecircuits.tasks.loading import task_names as task_names
from saecircuits.tasks.metric import last_position_logits as last_position_logits
from saecircuits.tasks.metric import logit_difference as logit_difference
from saecircuits.tasks.pairs import PromptPair as PromptPair
from saecircuits.tasks.prompts import Prompts as Prompts
from saecircuits.tasks.prompts import tokenize as tokenize
from saecircuits.tasks.spans import Span as Span
from saecircuits.tasks.templates import Family as Family
from saecircuits.tasks.tokens import Reader as Reader
from saecircuits.tasks.tokens import Tokenizer as Tokenizer
