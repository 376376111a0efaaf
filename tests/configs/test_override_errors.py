"""Each mistake in an override is one line that names the key and says what to type."""

import copy

import pytest

from configs.compose import compose, config_dict, resolve
from configs.errors import UserError
from configs.fields import limits_of
from configs.groups import schema
from configs.strict import leaves

MISTAKES = [
    # unknown keys
    ("modle=fsn", "unknown key 'modle': the nearest is 'model'; type model=fsn"),
    ("trainer.max_stpes=3", "the nearest is 'trainer.max_steps'; type trainer.max_steps=3"),
    ("max_steps=3", "the nearest is 'trainer.max_steps'; type trainer.max_steps=3"),
    ("trainr.threads=2", "the nearest is 'trainer.threads'; type trainer.threads=2"),
    ("data.lr=1", "the nearest is 'optim.lr'; type optim.lr=1"),
    ("+trainer.foo=1", "unknown key 'trainer.foo': legal here are trainer.name, trainer.accelerator"),
    ("++x=1", "unknown key 'x': legal here are model, scale, data"),
    ("model/fsn=1", "unknown key 'model/fsn'"),
    ("model=osn model.feed_forward=native", "legal values are swiglu, gelu; type"),
    ("model=osn model.theta=2", "must lie between 0.001 and 1.57"),
    ("model=osn model.theta=1e-4", "must lie between 0.001 and 1.57"),
    ("model=osn model.K=1e30", "model.K=1e+30: must be above 0 and at most 1000000.0; type for example model.K=1.0"),
    ("model=osn model.theta=1.5707963267948966", "type model.learn_theta=false too"),
    ("model=osn model.locked_fraction=1", "must be above 0 and at most 0.99"),
    (
        "model=osn model.position=false model.lag=0 model.drifts=4",
        "model.drifts changes nothing here: it needs model.position=true",
    ),
    (
        "model=transformer model.harmonics=2",
        "'model.harmonics', which kuramoto, fsn, fsn_native have: leave it out, or type model=fsn",
    ),
    ("model.increment_limit=abc", "takes a number or null; type for example model.increment_limit=2.0"),
    ("model.increment_limit=0", "type for example model.increment_limit=2.0"),
    ("status=true", "type +sweeps=NAME too; python -m results.status tells of all runs below runs/"),
    (
        "optim.schedule=constant optim.final_lr=0.5",
        "optim.final_lr changes nothing here: it needs optim.schedule=cosine",
    ),
    (
        "model=transformer optim.gate_lr=2",
        "optim.gate_lr changes nothing here: it needs a model with gates, such as model=fsn",
    ),
    # group options
    ("model=fns", "model=fns: legal values are fsn, fsn_native, kuramoto, osn, transformer; type model=fsn"),
    ("scale=3m", "scale=3m: legal values are smoke, 100k, 250k, 1m, 2m, 4m, 8m, base, big"),
    ("model=", "model=: legal values are fsn"),
    ("trainer={a: 1}", "legal values are cpu, ddp, fsdp, gpu"),
    ("data=[stdlib]", "type data=stdlib"),
    ("data@x=stdlib", "type data=stdlib"),
    ("+model=fsn", "type model=fsn"),
    ("~model", "a group cannot be left out"),
    # what is not key=value
    ("model", "'model' is not key=value: type model=fsn"),
    ("sede", "'sede' is not key=value: type seed=VALUE"),
    ("=3", "'=3' is not key=value"),
    ("a=b=c[", "unknown key 'a'"),
    ("seed=[c", "cannot read seed=[c: it takes a whole number; type for example seed=0"),
    ("model=[c", "model=[c: legal values are fsn"),
    ("seed=???", "??? stands for a value that is missing"),
    ("~seed", "a key cannot be left out"),
    ("+seed=3", "no + is needed; type seed=3"),
    ("seed=0,1", "seed=0,1: several values; add -m to run each"),
    ("data.split=0.8,0.1,0.1", "data.split=0.8,0.1,0.1: several values for one list; type data.split=[0.8,0.1,0.1]"),
    ("data.path=a,b", "add -m to run each, or type \"data.path='a,b'\" for this very text"),
    ("model=fsn,transformer", "add -m to run each"),
    ("model.name=transformer", "type model=transformer"),
    ("optim.name=sgd", "optim is chosen as a whole; type optim=adamw"),
    ("data.source=text", "type data=text"),
    ("data=wmt14_en_de", "data=wmt14_en_de is sentences in pairs for task=translation: type task=translation too"),
    ("data=wmt14_en_de task=recall trainer.max_steps=9", "strings that are made, and data=wmt14_en_de is sentences"),
    (
        "data=mqar task=translation",
        "translates sentences, and data=mqar is strings: type data=numbers, data=multi30k or data=wmt14",
    ),
    ("data=wmt14_en_de task=translation batch_size=8", "batch_size changes nothing here: it needs task=language"),
    ("data=wmt14_en_de task=translation batch_size=8", "task=translation has data.batch_tokens=25000 in its place"),
    (
        "data=wmt14_en_de task=translation trainer.micro_batch_size=5",
        "task=translation has data.micro_batches=2 in its place",
    ),
    ("data=wmt14_en_de task=translation data.test=newstest2012", "it needs data.path=FOLDER"),
    ("data=wmt14_en_de task=translation data.too_long=cut", "legal values are drop, truncate"),
    ("data=wmt14_en_de task=translation data.max_ratio=0.5", "must be at least 1; type for example data.max_ratio=1.5"),
    ("data=wmt14_en_de task=translation data.vocabulary=257", "data.vocabulary=257: must be at least 258"),
    ("data=wmt14_en_de task=translation trainer.cuda_graphs=true", "cannot go with task=translation, whose batches"),
    ("data=wmt14_en_de task=translation data.tokenizer=bpe", "this data has no key 'data.tokenizer'"),
    ("data.batch_tokens=9", "this data has no key 'data.batch_tokens', which multi30k, numbers, wmt14_en_de have"),
    ("scale=250k scale.name=1m", "type scale=1m"),
    ("model.tuned={1m: {lr: 1}}", "type optim.lr=0.003"),
    # types
    ("seed=abc", "seed=abc: takes a whole number; type for example seed=0"),
    ("seed=1.5", "seed=1.5: takes a whole number"),
    ("seed=null", "takes a whole number"),
    ("seed=${foo}", "an interpolation takes a key of this config, such as ${seed}; type the value itself"),
    ("optim.lr=${oc.env:HOME}", "an interpolation takes a key of this config"),
    ("model=${y}", "an interpolation takes a key of this config"),
    ("data.path=${oc.env:HOME}", "for this very text"),
    ("optim.lr=fast", "optim.lr=fast: takes a number or null"),
    ("compile=maybe", "takes true or false"),
    ("trainer.checkpoint_epochs=5", "takes a list of whole numbers"),
    ("trainer.checkpoint_epochs=[a]", "takes a list of whole numbers"),
    # names and ranges; more of them below
    ("optim.schedule=cosin", "legal values are cosine, linear, constant, inverse_sqrt; type optim.schedule=cosine"),
    ("trainer.max_steps=-1", "must be at least 1; type for example trainer.max_steps=1000"),
    (
        "data.split=[0.5,0.4,0.3]",
        "data.split=[0.5,0.4,0.3]: takes three positive shares (train, validation, test) that sum to 1",
    ),
    # Hydra's own keys
    ("hydra.foo=1", "Could not override 'hydra.foo'"),
]

# What is wrong with values that are well-formed: resolved directly, which is quicker than through Hydra.
IMPOSSIBLE = [
    ({"model.feed_forward": "mlp"}, "legal values are swiglu, mean_field, native; type"),
    ({"model.feed_forward": "gelu"}, "legal values are swiglu, mean_field, native; type model.feed_forward=swiglu"),
    ({"model.gate": "conten"}, "type model.gate=content"),
    ({"precision": 16}, "precision=16: legal values are 32, bf16"),
    ({"task": "translate"}, "task=translate: legal values are language, recall, translation"),
    ({"task": "translation"}, "data=stdlib is text: type data=numbers, data=multi30k or data=wmt14_en_de"),
    ({"data.name": "../x"}, "takes letters, digits"),
    ({"trainer.devices": 0}, "must be at least 1"),
    ({"batch_size": 0}, "batch_size=0: must be at least 1"),
    ({"data.context": 1}, "data.context=1: must be at least 2"),
    ({"optim.lr": 0}, "must be above 0"),
    ({"optim.embedding_lr": 0}, "must be above 0"),
    ({"model.coupling": float("nan")}, "must be a finite number"),
    ({"model.kernel": "copy"}, "type model.kernel=copying"),
    ({"model.grading": -1}, "must be at least 0"),
    ({"model.gate_spread": float("inf")}, "must be at least 0"),
    ({"optim.kernel_lr": 0}, "must be above 0"),
    # what would change nothing
    ({"model.null": "learned", "model.delay": False}, "model.null changes nothing here: it needs model.delay=true"),
    ({"model.gate_spread": 0, "model.gate": "constant"}, "model.gate_spread changes nothing"),
    ({"optim.readout_lr": 2, "model.readout": "tied"}, "optim.readout_lr changes nothing"),
    ({"trainer.threads": 100_000}, "must lie between 1 and 1024; type for example trainer.threads=2"),
    ({"run_dir": ""}, "run_dir=: must not be empty; type for example run_dir=FOLDER"),
    ({"runs": " "}, "must not be empty; type for example runs=runs"),
    ({"optim.lr": float("nan")}, "must be above 0"),
    ({"optim.lr": float("inf")}, "must be above 0"),
    ({"optim.betas": [0.9]}, "takes two numbers"),
    ({"optim.final_lr": 2}, "must lie between 0 and 1"),
    ({"optim.grad_clip": -1}, "must be at least 0"),
    ({"seed": -1}, "must lie between 0 and 4294967295"),
    ({"seed": 2**32}, "must lie between 0 and 4294967295"),
    ({"model.harmonics": 0}, "must be at least 1"),
    ({"trainer.checkpoint_epochs": [0]}, "must be at least 1"),
    ({"data.split": [0.9, 0.1]}, "takes three positive shares"),
    ({"data.split": [1.0, 0.0, 0.0]}, "takes three positive shares"),
    ({"trainer.micro_batch_size": 5}, "does not divide the 16 windows"),
    ({"trainer.cuda_graphs": True, "trainer.micro_batch_size": 8}, "cannot go with trainer.micro_batch_size="),
    ({"trainer.cuda_graphs": True, "trainer.devices": 2}, "cannot go with trainer.devices="),
    ({"trainer.devices": 2, "trainer.micro_batch_size": 16}, "does not divide the 8 windows"),
    ({"trainer.devices": 3}, "batch_size=16 is not divisible by trainer.devices=3"),
    ({"model.width": 10, "model.n_heads": 3}, "model.width=10 is not divisible by model.n_heads=3"),
    ({"trainer.max_epochs": None}, "trainer.max_epochs and trainer.max_steps are both null"),
    ({"data.source": "text"}, "type data=text data.path=FILE"),
    ({"logger.timeout": 0}, "must be above 0"),
]


def split(line: str) -> list[str]:
    return [line] if "{" in line else line.split()


@pytest.mark.parametrize(("line", "says"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_mistake(line, says, follow):
    with pytest.raises(UserError) as caught:
        compose("train", split(line))
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert len(message) < 400
    follow("train", split(line), message)


@pytest.fixture(scope="module")
def plain():
    return config_dict(compose("train"))


@pytest.mark.parametrize(("changes", "says"), IMPOSSIBLE, ids=[str(changes) for changes, _ in IMPOSSIBLE])
def test_impossible_value(plain, changes, says, follow):
    values = copy.deepcopy(plain)
    for key, value in changes.items():
        *path, name = key.split(".")
        branch = values
        for part in path:
            branch = branch[part]
        branch[name] = value
    with pytest.raises(UserError) as caught:
        resolve(values)
    assert says in str(caught.value)
    follow("train", [], str(caught.value))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "type run=PATH"),
        ("runs/fsn-smoke", "'runs/fsn-smoke' is not key=value: type run=runs/fsn-smoke"),
        ("runs/a~b", "type \"run='runs/a~b'\""),
        (
            "run=x task=los",
            "legal values are loss, sample, synchrony, copy_depth, coupling, recall, translate; type task=loss",
        ),
        ("run=x split=tset", "legal values are train, validation, test; type split=test"),
        ("run=x model=fsn", "unknown key 'model'"),
        ("runs=x", "unknown key 'runs': the nearest is 'run'; type run=x"),
        ("model.harmonics=2", "unknown key 'model.harmonics'"),
        ("run=x top_p=0", "must be above 0"),
        ("run=x top_p=1.5", "must be above 0 and at most 1; type for example top_p=0.95"),
        ("run=x temperature=-1", "must be at least 0"),
        ("run=x context=1", "must be at least 2"),
        ("run=x length=many", "takes a whole number"),
        ("run=x prompt=def", "prompt= changes nothing with task=loss; leave it out, or type task=sample"),
        (
            "run=x task=synchrony top_p=0.5",
            "top_p= changes nothing with task=synchrony; leave it out, or type task=sample",
        ),
        (
            "run=x task=synchrony context=64",
            "context= changes nothing with task=synchrony; leave it out, or type task=loss",
        ),
        ("run=x task=sample split=train", "split= changes nothing with task=sample; leave it out, or type task=loss"),
        ("run=x task=sample data.path=y", "data.path= changes nothing with task=sample"),
    ],
)
def test_mistake_in_an_evaluation(line, says, follow):
    with pytest.raises(UserError) as caught:
        compose("eval", line.split())
    assert says in str(caught.value)
    follow("eval", line.split(), str(caught.value))


def test_every_key_of_an_evaluation_is_for_all_tasks_or_says_for_which():
    everywhere = {"run", "task", "checkpoint", "average", "device", "ssa.backend"}
    tasks = {key: limits_of(field).tasks for key, field, _, _ in leaves(schema("eval"))}
    assert {key for key, of in tasks.items() if not of} == everywhere
    of_task = next(field for key, field, _, _ in leaves(schema("eval")) if key == "task")
    assert {task for of in tasks.values() for task in of} == set(limits_of(of_task).names)
