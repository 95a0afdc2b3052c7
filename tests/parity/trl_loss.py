"""Loss and gradients of TRL 1.16's ``GRPOTrainer`` for a batch made elsewhere.

    python trl_loss.py model_folder cases.pt results.pt

Runs in an environment of its own (`make trl-env`) and imports nothing of ours. ``cases.pt`` holds
``inputs`` as ``_compute_loss`` takes them and the settings of every case.
"""

import sys
import tempfile

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer


def trainer_for(folder, settings):
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    arguments = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        report_to=[],
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=4,
        num_generations=4,
        gradient_checkpointing=False,
        temperature=1.0,
        **settings,
    )
    return GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 8),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )


def loss_and_gradients(folder, inputs, case):
    trainer = trainer_for(folder, case["settings"])
    if case["sampler_weights"]:
        # The correction is computed beside vLLM only; the loss reads these two switches.
        trainer.use_vllm, trainer.vllm_importance_sampling_correction = True, True
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    gradients = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    return {"loss": loss.item(), "gradients": gradients}


def main():
    folder, cases_file, results_file = sys.argv[1:]
    given = torch.load(cases_file)
    results = {
        name: loss_and_gradients(folder, given["inputs"], case)
        for name, case in given["cases"].items()
    }
    torch.save(results, results_file)


if __name__ == "__main__":
    main()
