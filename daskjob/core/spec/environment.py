"""The packages of a job: the same ones in its runner, its scheduler and all its workers.

They are installed into an empty folder of each pod, beside what the image has; Dask itself stays
the image's (design §5.7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.rows import parsed_row, row, shapes_of
from daskjob.core.shapes import Record, Rule, Text
from daskjob.core.spec.fields import read_fields, written_fields
from daskjob.core.spec.texts import list_of, read_texts

MOST_REQUIREMENTS = 500
#: A package with 90 hashes. What the API server charges for a rule grows with it.
LONGEST_REQUIREMENT = 8192
#: Characters of all requirements: they share a ConfigMap of 1 MiB with the installer.
REQUIREMENTS_LIMIT = 512 * 1024
MOST_INDEXES = 10
LONGEST_URL = 2048
LONGEST_SPECIFIERS = 200
#: The limit of Kubernetes for names of Secrets, ConfigMaps and volume claims.
LONGEST_OBJECT_NAME = 253
OBJECT_NAME_MESSAGE = (
    "write a name of lower-case letters, digits, '-' and '.', starting and ending with a letter "
    "or digit"
)

_ONE_LINE = "write one requirement a line, such as pandas==3.0.1; options have fields of their own"
_NO_LOGIN = "write the URL without a user name and a password: put them into the Secret secretName"
#: What a URL must not have before its first slash. Also in a requirement: ``name @ https://…``.
_LOGIN = re.compile("//[^/]*@")
_VERSION = r"(===|[=~!<>]=|[<>]) *[0-9]+([.][0-9a-z]+)*([.][*])?"

#: No requirement, so that installing it fails with these words.
_REMOVED = "requirements that were removed from the spec before their ConfigMap was made"

#: Two short rules: the cost of a pattern is its length times that of the text.
NO_OPTION = Rule(
    r"self.size() > 0 && !self.startsWith('-') && !self.contains('\n')"
    r" && !self.contains('\r')",
    _ONE_LINE,
)
NO_LOGIN = Rule(f"!self.matches('{_LOGIN.pattern}')", _NO_LOGIN)
SMALL_ENOUGH = Rule(
    f"self.map(line, line.size()).sum() <= {REQUIREMENTS_LIMIT}",
    f"write at most {REQUIREMENTS_LIMIT} characters in total: put large environments into the "
    "image, or leave the hashes out",
)
REQUIREMENT = Text(
    "",
    "A requirement, with its markers and hashes.",
    longest=LONGEST_REQUIREMENT,
    message=f"write at most {LONGEST_REQUIREMENT} characters",
    rules=(NO_OPTION, NO_LOGIN),
)
REQUIREMENTS = list_of(
    "requirements",
    "Packages to install in every pod, one requirement an item, as in pip's requirements files: "
    "name==version, with markers and hashes. If all have a fixed version, nothing else is "
    f"installed. dask and distributed stay the image's. At most {MOST_REQUIREMENTS}.",
    REQUIREMENT,
    at_most=MOST_REQUIREMENTS,
    rules=(SMALL_ENOUGH,),
)
INDEX_URL = Text(
    "",
    "The URL of an index, without a user name and a password.",
    longest=LONGEST_URL,
    pattern=re.compile(r"https?://[^/@\s]+(/\S*)?"),
    message=f"write an http or https URL of at most {LONGEST_URL} characters; a user name and a "
    "password belong into the Secret secretName",
)
INDEX_URLS = list_of(
    "indexURLs",
    "Package indexes: the first replaces the default one, others are asked as well. Defaults to "
    "what the image, or the variables of the container, configure.",
    INDEX_URL,
    at_most=MOST_INDEXES,
)
REQUIRES_PYTHON = Text(
    "requiresPython",
    'The Python that the images must have, such as ">=3.11,<3.14".',
    longest=LONGEST_SPECIFIERS,
    pattern=re.compile(f" *{_VERSION} *(, *{_VERSION} *)*"),
    message='write version specifiers, such as ">=3.11,<3.14"',
)
FIND_LINKS = Text(
    "findLinks",
    "A folder of the pods with wheels, such as one of a volume, or the URL of a page of "
    "links. Without indexURLs no index is asked then.",
    longest=LONGEST_URL,
    pattern=re.compile(r"/[^\s@]*|https?://[^/@\s]+(/\S*)?"),
    message="write an absolute folder, such as /wheels, or an http or https URL without "
    "a user name and a password",
)


def object_name(name: str, description: str, kind: str, *, required: bool = False) -> Text:
    """Return the field that names a Secret, a ConfigMap or a claim in the job's namespace."""
    return Text(
        name,
        description,
        required=f"write the name of a {kind} in this namespace" if required else "",
        longest=LONGEST_OBJECT_NAME,
        pattern=re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"),
        message=OBJECT_NAME_MESSAGE,
    )


def _read_requirements(reader: Reader) -> tuple[str, ...]:
    found = read_texts(REQUIREMENTS, reader, REQUIREMENT)
    for index, line in enumerate(found):
        key = f"{REQUIREMENTS.name}[{index}]"
        if not line or line.startswith("-") or "\n" in line or "\r" in line:
            reader.mistake(key, line[:100], NO_OPTION.message)
        if _LOGIN.search(line):
            reader.mistake(key, "a URL with a password", NO_LOGIN.message)
    characters = sum(map(len, found))
    if characters > REQUIREMENTS_LIMIT:
        reader.mistake(REQUIREMENTS.name, f"{characters} characters", SMALL_ENOUGH.message)
    return found


def _read_indexes(reader: Reader) -> tuple[str, ...]:
    return read_texts(INDEX_URLS, reader, INDEX_URL)


@dataclass(frozen=True, slots=True)
class Environment:
    """What each pod of a job gets beside its image's packages, and where it comes from."""

    requirements: tuple[str, ...] = parsed_row(REQUIREMENTS, (), _read_requirements, list)
    requires_python: str = row(
        REQUIRES_PYTHON,
        "",
    )
    index_urls: tuple[str, ...] = parsed_row(INDEX_URLS, (), _read_indexes, list)
    find_links: str = row(
        FIND_LINKS,
        "",
    )
    secret_name: str = row(
        object_name(
            "secretName",
            "A Secret of type kubernetes.io/basic-auth with the login for the hosts of indexURLs "
            "and findLinks, or one with a key netrc.",
            "Secret",
        ),
        "",
    )

    @property
    def wanted(self) -> bool:
        """Whether a pod has anything to install or to check."""
        return bool(self.requirements or self.requires_python)


ENVIRONMENT = Record(
    "environment",
    "Packages that are installed in the runner, the scheduler and the workers, the same in every "
    "pod and every attempt, before their containers start.",
    shapes_of(Environment),
)


def read_environment(spec: Reader) -> Environment:
    """Return the packages of a job's spec; none where it has no environment."""
    return Environment(**read_fields(Environment, ENVIRONMENT.read(spec)))


def as_environment(fields: Mapping[str, object]) -> Environment:
    """Return the environment of a mapping as manifests have it; wrong values are left out."""
    return read_environment(Reader({ENVIRONMENT.name: fields}, "spec", []))


def frozen_environment(environment: Environment) -> Manifest:
    """Return an environment as ``status.policy`` holds it: without the lines, only their number."""
    if not environment.wanted:
        return {}
    found = {**written_fields(environment), REQUIREMENTS.name: len(environment.requirements)}
    return {key: value for key, value in found.items() if value}


def thawed_environment(frozen: Mapping[str, object], current: Environment) -> Environment:
    """Return an environment as it was frozen, with the lines of the current spec.

    They are used only if the ConfigMap with the first ones does not exist yet.
    """
    count = frozen.get(REQUIREMENTS.name)
    fields = {key: value for key, value in frozen.items() if key != REQUIREMENTS.name}
    found = read_environment(Reader({ENVIRONMENT.name: fields}, "status.policy", []))
    lines = (current.requirements or (_REMOVED,)) if count else ()
    return replace(found, requirements=lines)
