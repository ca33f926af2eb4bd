"""Writes tests/fixtures/chat-templates.json: conversations as the reference renders them, which is
jinja2 set up as `transformers` sets it up for chat templates.

    python tools/reference/chat_templates.py MODEL.gguf [MODEL.gguf ...] > tests/fixtures/chat-templates.json
    python tools/reference/chat_templates.py --folder DIR > cases.json     # every DIR/*.jinja instead

The templates of the models named are taken from the files (SmolLM2 and Qwen2.5, both Apache 2.0);
the others are written here, short, with the constructs that the families' own templates use.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = 1753185600  # 2025-07-22 12:00 UTC

TEMPLATES = {
    "llama-2": """{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must take turns: user, assistant, ...') }}{% endif %}{% if loop.index0 == 0 and system != false %}{% set text = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] %}{% else %}{% set text = m['content'] %}{% endif %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama-3": """{% for m in messages %}{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set text = bos_token + text %}{% endif %}{{ text }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
    "llama-3.2": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- the first turn may be the system's #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{{- system }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('After the optional system message, roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}""",
    "mixtral": """{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{{- bos_token }}
{%- set ns = namespace(n=0) %}
{%- for m in turns %}
    {%- if (m["role"] == "user") != (ns.n % 2 == 0) %}
        {{- raise_exception("roles must alternate") }}
    {%- endif %}
    {%- set ns.n = ns.n + 1 %}
    {%- if m["role"] == "user" %}
        {%- if loop.first and system is defined %}
            {{- " [INST] " + system + "\\n\\n" + m["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + m["content"] + " [/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + m["content"] + eos_token }}
    {%- endif %}
{%- endfor %}
""",
    "qwen-3": """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(looking=true, last=messages|length - 1) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.looking and m.role == "user" and m.content is string and not (m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}
        {%- set ns.looking = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- if m.role == "user" or (m.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
    {%- elif m.role == "assistant" %}
        {%- set content = m.content %}
        {%- set thought = '' %}
        {%- if m.reasoning_content is defined and m.reasoning_content is not none %}
            {%- set thought = m.reasoning_content %}
        {%- elif '</think>' in m.content %}
            {%- set content = m.content.split('</think>')[-1].lstrip('\\n') %}
            {%- set thought = m.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>' + m.role + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + m.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}{% if (m['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}""",
    "phi-3": """{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "blocks": """  {% if true %}
kept line
  {% endif %}
{# a comment #}
{%- macro turn(role, text="-") -%}
  [{{ role | upper }}] {{ text | default("none") }}
{%- endmacro %}
{% for m in messages if m.content %}
{{ turn(m.role, m.content) }}{{ ", " if not loop.last }}
{% endfor %}
{{ messages | map(attribute="role") | join("/") }} {{ messages | length }} {{ [1, 2.5, "a", none, true] | tojson }}
{%- for i in range(3) %} {{ loop.index }}:{{ i ~ "x" }}{% endfor %}
""",
}

CONVERSATIONS = {
    "one": [("user", "Hi")],
    "system": [("system", " Be kind. "), ("user", "Hi\n")],
    "turns": [("user", "What is 2 + 2?"), ("assistant", "<think>\nsum\n</think>\n\n4"),
              ("user", "  And \u00e9\u4e2d\U0001f642\t\n")],
    "wrong-order": [("assistant", "I begin"), ("user", "no")],
    "empty": [("user", "")],
}


class Refused(Exception):
    pass


def raise_exception(message):
    raise Refused(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def render(template, messages):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(
        NOW, datetime.timezone.utc).strftime(form)
    return environment.from_string(template).render(
        messages=messages, tools=None, documents=None, add_generation_prompt=True,
        bos_token="<s>", eos_token="</s>")


def template_of(path):
    import gguf
    field = gguf.GGUFReader(path).fields["tokenizer.chat_template"]
    return bytes(field.parts[field.data[0]]).decode()


def cases(templates):
    for name, template in templates.items():
        for conversation, turns in CONVERSATIONS.items():
            messages = [{"role": role, "content": content} for role, content in turns]
            case = {"template": name, "conversation": conversation}
            try:
                case["text"] = render(template, messages)
            except Refused as refusal:
                case["refused"] = str(refusal)
            except jinja2.TemplateError as error:
                case["error"] = str(error)
            yield case


def main(arguments):
    templates = dict(TEMPLATES)
    if arguments[:1] == ["--folder"]:
        templates = {p.stem: p.read_text() for p in sorted(pathlib.Path(arguments[1]).glob("*.jinja"))}
    else:
        templates.update({pathlib.Path(path).stem: template_of(path) for path in arguments})
    json.dump({"now": NOW, "bos": "<s>", "eos": "</s>", "templates": templates,
               "conversations": {name: [{"role": r, "content": c} for r, c in turns]
                                 for name, turns in CONVERSATIONS.items()},
               "cases": list(cases(templates))}, sys.stdout, indent=1)
    print()


main(sys.argv[1:])
