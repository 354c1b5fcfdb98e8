"""features.md: the document that `features` prints."""

from __future__ import annotations

from tests.docs.coverage.row import Row

ROWS = (
    Row(
        "`features`",
        "the document, valid by its schema; read off the tables that the rest goes by, so that it says what is true",
        "spec/test_features.py::test_the_document_is_valid spec/test_features.py::test_what_runc_has_is_there",
    ),
    Row(
        "`ociVersionMin`, `ociVersionMax`",
        "1.0.0 and the newest that is known; both are accepted as `ociVersion`",
        "spec/test_features.py::test_a_document_of_either_version_is_accepted",
    ),
    Row(
        "`hooks`, `linux.namespaces`",
        "those that are supported",
        "spec/test_features.py::test_each_hook_and_namespace_that_is_named_is_one_of_a_document_and_no_other_is",
    ),
    Row(
        "`mountOptions`",
        "all but those of the file systems themselves",
        "spec/test_features.py::test_a_mount_option_that_is_named_is_none_of_the_file_systems",
    ),
    Row(
        "`annotations`, `potentiallyUnsafeConfigAnnotations`",
        "runc's annotations; the names of annotations that change what is done",
        "spec/test_features.py::test_each_annotation_that_changes_what_is_done_is_named",
    ),
)
