# The resolved configuration of each stage, as a file: a stage runs again when its own file changes, and for no other knob.
rule config:
    output:
        "<results>/config/{stage}.yaml",
    localrule: True
    params:
        text=lambda wildcards: to_yaml(STAGES[wildcards.stage]),
    message:
        "Configuration of {wildcards.stage}"
    shell:
        "printf %s {params.text:q} > {output:q}"
