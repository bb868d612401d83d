"""The sentences of the store's promise, and the tests that hold it to them."""

import inspect
import re

from embeddings_dagster import store
from embeddings_dagster_tests.store import (
    test_chain,
    test_checked,
    test_content,
    test_crashes,
    test_damage,
    test_files,
    test_fold,
    test_heads,
    test_ledger,
    test_limits,
    test_migrations,
    test_model,
    test_object_store,
    test_parts,
    test_races,
    test_s3,
    test_vectors,
    test_versions,
    test_writer,
)

PROMISE = {
    "A process that is killed at any instant leaves the old state or the new one.": [
        test_crashes.test_a_kill_at_any_step_of_a_batch_leaves_the_old_state_or_the_new_one,
        test_crashes.test_a_kill_at_any_step_of_a_ledger_leaves_the_old_state_or_the_new_one,
        test_crashes.test_every_step_of_the_store_is_killed_here,
        test_model.test_any_sequence_of_adding_failing_dropping_crashing_and_finishing_equals_a_dict,
    ],
    "A killed run loses at most the part it had in hand.": [
        test_crashes.test_a_kill_at_any_step_of_a_batch_leaves_the_old_state_or_the_new_one,
        test_limits.test_a_part_closes_at_its_first_limit,
        test_limits.test_failures_are_committed_at_the_limits_too,
    ],
    "Of two writers on one batch, one wins, and the other is told so and can go on from there.": [
        test_races.test_of_two_writers_one_wins_and_the_other_is_told_what_happened,
        test_races.test_a_loser_that_plans_again_gets_all_in,
        test_races.test_two_processes_on_one_batch_get_all_in,
        test_ledger.test_of_two_discoveries_one_wins_and_the_other_leaves_nothing,
        test_files.test_of_eight_processes_that_create_one_file_one_wins,
    ],
    "A reader sees one state from first row to last, whatever is committed meanwhile.": [
        test_chain.test_a_reader_keeps_the_version_it_resolved,
        test_races.test_a_reader_among_writers_sees_one_state_after_another_and_never_a_mixture,
    ],
    "No reader sees a version that is not complete, and complete means that every input is a row or a failure.": [
        test_writer.test_an_incomplete_version_is_seen_by_a_run_that_resumes_and_by_nobody_else,
        test_writer.test_counts_that_do_not_reconcile_complete_nothing_and_lose_nothing,
        test_writer.test_counts_are_reconciled_even_when_nothing_changed,
    ],
    "A bad row costs its own image and no other.": [
        test_writer.test_rows_that_do_not_fit_cost_one_image,
    ],
    "A file that is not, to the bit, what was committed is an error and never a value.": [
        test_damage.test_a_flipped_bit_in_any_file_is_found_by_a_first_read_and_by_verify,
        test_damage.test_a_missing_file_is_found_by_a_read_and_by_verify,
        test_damage.test_damage_that_keeps_size_and_time_is_found_by_pages_and_by_verify,
        test_parts.test_a_bit_that_flips_in_any_page_is_an_error_without_any_sha256,
        test_versions.test_any_flipped_bit_of_a_document_is_an_error,
    ],
    "Verification finds every such file, whatever is remembered.": [
        test_checked.test_verification_ignores_what_is_remembered,
        test_damage.test_damage_that_keeps_size_and_time_is_found_by_pages_and_by_verify,
        test_damage.test_one_bad_file_hides_no_other_and_each_has_a_remedy,
    ],
    "What is damaged can be made again without touching the rest.": [
        test_writer.test_a_writer_that_heals_makes_damaged_files_again,
    ],
    "Content, by which staleness is told, follows the live rows alone: folding, retrying, and the order of parts "
    "leave it alone.": [
        test_content.test_content_is_the_same_in_any_order_and_any_parts,
        test_content.test_content_differs_with_any_identity_column,
        test_fold.test_content_is_the_same_folded_or_not,
        test_writer.test_a_retried_failure_changes_the_version_and_not_the_content,
        test_model.test_any_sequence_of_adding_failing_dropping_crashing_and_finishing_equals_a_dict,
    ],
    "A run that changes nothing writes nothing.": [
        test_writer.test_a_run_that_changes_nothing_writes_nothing,
        test_ledger.test_a_ledger_without_news_is_not_written,
    ],
    "A vector that was computed once can be found again, and is never taken for another.": [
        test_vectors.test_a_row_that_died_still_lends_its_vector,
        test_vectors.test_it_may_miss_a_vector_and_never_returns_a_wrong_one,
    ],
    "Memory holds the part in hand, or a row group, whatever a batch weighs.": [
        test_limits.test_memory_holds_the_open_part_only,
        test_fold.test_memory_stays_flat_while_folding,
        test_parts.test_row_groups_keep_to_their_bytes,
    ],
    "The cache may be deleted at any time.": [
        test_checked.test_the_cache_may_be_lost_at_any_time,
        test_heads.test_the_cache_may_be_lost_at_any_time,
        test_vectors.test_the_cache_may_be_lost_at_any_time,
    ],
    "Storage that cannot create a file exclusively is refused for writing.": [
        test_object_store.test_storage_that_cannot_create_exclusively_is_refused_for_writing,
        test_s3.test_a_bucket_without_conditional_writes_is_refused_for_writing_and_read,
        test_files.test_a_disk_without_hard_links_is_refused,
    ],
    "A store written by a newer release is refused, not misread.": [
        test_damage.test_a_newer_format_is_refused_by_readers_and_writers,
        test_heads.test_what_a_newer_release_remembers_is_no_way_around_that,
        test_versions.test_a_newer_format_is_refused,
    ],
    "One written by an older release is read and gone on from as it is.": [
        test_migrations.test_a_store_of_format_1_is_read_and_verified,
        test_migrations.test_the_next_commit_writes_the_present_format_and_says_what_was_not_said,
        test_migrations.test_an_old_batch_is_folded_and_its_vectors_are_found,
    ],
}


def test_every_sentence_of_the_promise_has_a_test() -> None:
    paragraphs = inspect.cleandoc(store.__doc__ or "").split("\n\n")[1:-1]
    sentences = [sentence for text in paragraphs for sentence in re.split(r"(?<=\.)\s", text.replace("\n", " "))]
    assert sentences == list(PROMISE)
    assert all(PROMISE.values())
