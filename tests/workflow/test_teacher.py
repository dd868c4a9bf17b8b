"""What is planned for a dataset that names a teacher; test_pipeline.py has the real run."""


def set_key(checkout, path, value):
    config = checkout.config()
    *parents, last = path.split(".")
    block = config
    for parent in parents:
        block = block[parent]
    block[last] = value
    checkout.write_config(config)


def test_a_teacher_is_sampled_and_checked_by_the_same_rules(checkout):
    config = checkout.config()
    sampled = {**config["datasets"]["chains"], "teacher": "big"}
    sampled["fields"] = {**sampled.get("fields", {}), "teacher_trace": None}
    set_key(checkout, "models.big", {"source": {"kind": "demo", "seed": 2}, "dtype": "float32"})
    set_key(checkout, "teacher", {"num_samples": 2, "temperature": 0.6, "max_tokens": 200})
    set_key(checkout, "datasets.sampled", sampled)
    set_key(checkout, "runs.datasets", ["chains", "sampled"])
    plan = checkout.plan()
    # the teacher's and the student's
    assert plan["sample"] == plan["check"] == 2
    assert plan["trace"] == plan["check_traces"] == plan["dataset"] == plan["student"] == 1
    checkout.run()
    assert checkout.plan() == {}
    set_key(checkout, "teacher", {"num_samples": 3, "temperature": 0.6, "max_tokens": 200})
    plan = checkout.plan()
    assert plan["sample"] == plan["check"] == plan["trace"] == plan["check_traces"] == 1
    assert not {"dataset", "expose", "student"} & set(plan)
