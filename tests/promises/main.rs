//! The promises of docs/promises.md, each asserted on a cluster of two booted instances that all of them share.
//!
//! They run one after the other, in this order. A name, or a part of one, on the command line runs only those that have it:
//! `cargo test --release --test promises -- follower`. `--of=patching`, `--of=starting` and
//! `--of=the-share` each run a part, in a lab of its own.

mod adoption;
mod apply;
mod configuration;
mod control_plane;
mod dependencies;
mod doctor;
mod external_mount;
mod first_use;
mod foreign_mount;
mod kinds;
mod leaving;
mod lossless;
mod mount_point;
mod patcher;
mod patching;
mod placement;
mod restart;
mod rights;
mod services;
mod speaking;
mod troubled_ecs;
mod upgrade;
mod volumes;
mod watch;

use lab::{
    Error, Lab, cluster,
    enclosure::{self, Inside},
    faults,
    progress::Progress,
    selection::Selection,
    story,
};
use std::{process::ExitCode, time::Instant};

/// One promise, kept or not.
type Promise = (&'static str, fn(&Lab) -> Result<String, Error>);

/// Those of patching, in their order: they leave the instances whole.
const OF_PATCHING: &[Promise] = &[
    ("metadata_is_asked_with_a_token", speaking::metadata_is_asked_with_a_token),
    ("a_plain_deploy_is_enough", story::a_plain_deploy),
    ("a_service_is_patched_once", story::patched_once),
    ("a_task_on_each_instance_has_its_volume", story::a_task_on_each_instance),
    ("files_are_shared", story::files_are_shared),
    ("files_lie_where_the_layout_says", story::the_path_on_the_share),
    ("files_outlive_tasks", story::files_outlive_tasks),
    ("status_tells_people_and_programs", speaking::status_tells_people_and_programs),
    ("patching_twice_changes_nothing", patching::patching_twice_changes_nothing),
    ("fields_that_nobody_knows_are_kept", patching::fields_that_nobody_knows_are_kept),
    ("a_follower_makes_no_reads_of_the_cluster", patching::a_follower_makes_no_reads_of_the_cluster),
    ("never_old_code_as_the_latest", services::never_old_code_as_the_latest),
    ("a_held_source_is_patched_at_once", services::a_held_source_is_patched_at_once),
    ("every_refusal_is_told", services::every_refusal_is_told),
    ("who_puts_the_unpatched_revision_back_is_yielded_to", services::who_puts_it_back_is_yielded_to),
    ("pause_stops_patching_at_once", services::pause_stops_patching),
    ("apply_takes_the_whole_way", apply::apply_takes_the_whole_way),
    ("a_dry_run_changes_nothing", services::a_dry_run_changes_nothing),
    ("every_field_of_the_api_is_kept", lossless::every_field_of_the_api_is_kept),
    ("a_field_that_ecs_drops_is_refused", lossless::a_field_that_ecs_drops_is_refused),
    (
        "lost_answers_and_throttling_end_in_one_change",
        troubled_ecs::lost_answers_and_throttling_end_in_one_change,
    ),
    ("a_superseded_patch_is_dropped", troubled_ecs::a_superseded_patch_is_dropped),
    (
        "what_aws_refuses_of_one_service_stops_no_other",
        troubled_ecs::what_aws_refuses_of_one_service_stops_no_other,
    ),
    ("who_may_not_patch_lets_another_lead", troubled_ecs::who_may_not_patch_lets_another_lead),
    ("what_the_app_breaks_is_left_alone", services::what_the_app_breaks_is_left_alone),
    ("what_the_share_breaks_is_tried_again", services::what_the_share_breaks_is_tried_again),
    (
        "what_no_instance_was_ready_for_is_tried_again",
        placement::what_no_instance_was_ready_for_is_tried_again,
    ),
    ("an_upgrade_alone_changes_nothing", upgrade::an_upgrade_alone_changes_nothing),
    ("a_newer_agents_record_is_left_alone", upgrade::a_newer_agents_record_is_left_alone),
    ("all_volumes_are_listed_with_who_uses_them", volumes::all_volumes_are_listed),
    ("a_patcher_of_its_own_patches", patcher::a_patcher_of_its_own_patches),
    ("the_patchers_policy_has_nothing_to_spare", rights::of_the_patcher),
];

/// Those of how tasks start, apart from patching for time's sake alone.
const OF_STARTING: &[Promise] = &[
    ("every_kind_of_service_ends_where_the_rules_say", kinds::every_kind_of_service_ends_where_the_rules_say),
    (
        "the_app_is_created_after_the_first_container_has_succeeded_or_never",
        dependencies::the_app_is_created_after_the_first_container,
    ),
    ("a_new_volume_begins_with_the_images_content", first_use::a_new_volume_begins_with_the_images_content),
    ("a_volume_is_absent_or_complete", first_use::a_volume_is_absent_or_complete),
    ("leaving_takes_all_volumes_off_and_no_files", leaving::leaving_takes_all_volumes_off_and_no_files),
];

/// Those of the share: what leaves the cluster whole first, what breaks it last.
const OF_THE_SHARE: &[Promise] = &[
    ("both_instances_mount_the_target_of_their_own_zone", story::both_instances_are_ready),
    ("the_doctor_finds_a_healthy_instance_well", doctor::a_healthy_instance),
    ("the_doctor_tells_what_is_wrong", doctor::what_is_wrong_is_told),
    ("a_volume_that_vanished_is_told", watch::a_volume_that_vanished_is_told),
    ("a_second_agent_refuses_to_start", watch::a_second_agent_refuses_to_start),
    ("a_restarted_agent_adopts_its_mount", adoption::a_restarted_agent_adopts_its_mount),
    ("a_wrong_configuration_is_told_and_mended_without_a_restart", configuration::a_wrong_configuration),
    ("a_foreign_mount_is_never_touched", foreign_mount::a_foreign_mount_is_never_touched),
    ("content_under_the_mount_point_is_named_and_never_hidden", mount_point::content_under_the_mount_point),
    ("a_restored_copy_is_refused_until_it_is_adopted", mount_point::a_restored_copy_is_adopted),
    ("the_share_is_found_while_efs_is_out_of_reach", control_plane::the_share_is_found_without_efs),
    ("containers_that_write_elsewhere_are_named", watch::containers_that_write_elsewhere_are_named),
    ("an_external_mount_is_watched_and_never_touched", external_mount::an_external_mount),
    (
        "an_instance_without_its_share_is_drained_and_given_back",
        watch::an_instance_without_its_share_is_drained,
    ),
    ("files_outlive_a_reboot", story::files_outlive_a_reboot),
    ("a_stall_is_told_in_time", faults::a_stall_is_told),
    ("the_doctor_does_not_hang_with_the_share", doctor::a_stalled_share),
    ("sigterm_ends_the_agent_within_a_second_whatever_the_share_does", restart::sigterm_during_a_stall),
    ("a_lost_share_closes_the_gate_and_nothing_is_written_elsewhere", faults::a_lost_share_closes_the_gate),
    ("the_share_comes_back_without_a_person", faults::the_share_comes_back),
    ("an_instances_policy_has_nothing_to_spare", rights::of_an_instance),
];

/// Which of them run, in a lab of that name: all groups one after the other unless the command line names one, so that two labs can run
/// at the same time.
fn chosen() -> (&'static str, Vec<Promise>) {
    match std::env::args().find_map(|word| word.strip_prefix("--of=").map(str::to_owned)).as_deref() {
        Some("patching") => ("test-patching", OF_PATCHING.to_vec()),
        Some("starting") => ("test-starting", OF_STARTING.to_vec()),
        Some("the-share") => ("test-share", OF_THE_SHARE.to_vec()),
        _ => ("test", [OF_PATCHING, OF_STARTING, OF_THE_SHARE].concat()),
    }
}

fn main() -> ExitCode {
    enclosure::run(chosen().0, false, |progress| cluster::prepare(progress).map(drop), keep_promises)
}

fn keep_promises(inside: Inside, progress: &Progress) -> Result<ExitCode, Error> {
    let wanted = Selection::of_the_command_line();
    let lab = Lab::start(&inside, progress)?;
    let mut broken = Vec::new();
    let mut kept = 0;
    let promises = chosen().1;
    for (name, promise) in promises.iter().filter(|(name, _)| wanted.has(name)) {
        let begun = Instant::now();
        match promise(&lab) {
            Ok(_) => {
                kept += 1;
                progress.say(&format!("ok      {name} ({:.1} s)", begun.elapsed().as_secs_f64()));
            }
            Err(error) => {
                let evidence = lab.evidence(name)?;
                progress.say(&format!("BROKEN  {name}\n  {error}\n  logs:     {}", evidence.display()));
                broken.push(name);
                // Whatever a broken promise left cut off must not break the next one.
                lab.share.resume()?;
            }
        }
    }
    progress.say(&format!("{kept} promises kept, {} broken {broken:?}", broken.len()));
    // A filter that fits nothing has tested nothing.
    inside.leave(u8::from(!broken.is_empty() || kept == 0), false)
}
