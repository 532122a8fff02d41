//! The stack of docs/cloudformation, created by moto: the file system that the instances then find is its, and no other's.

use crate::{
    aws::{cloudformation, ec2, efs, elements},
    baked,
};
use lab::{Error, Lab, cluster::CLUSTER, expect, host, network, place};
use serde_json::Value;

/// The zone that the lab has no instance in.
const THIRD: (&str, &str) = ("us-east-1c", "10.77.32.0/20");

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn all<'a>(answer: &'a Value, of: &str) -> &'a [Value] {
    answer[of].as_array().map_or(&[], Vec::as_slice)
}

/// Creates it in three zones, with the image that was built; its mount targets are the lab's NFS server from then on.
pub(crate) fn is_created(_lab: &Lab) -> Result<String, Error> {
    no_file_system_is_left()?;
    let template = host::read(&place::repository().join("docs/cloudformation/cluster.yaml"))?;
    let vpcs =
        ec2(&[("Action", "DescribeVpcs"), ("Filter.1.Name", "cidr"), ("Filter.1.Value.1", "10.77.0.0/16")])?;
    let vpc = elements(&vpcs, "vpcId").concat();
    let described =
        ec2(&[("Action", "DescribeSubnets"), ("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", &vpc)])?;
    let made = ec2(&[
        ("Action", "CreateSubnet"),
        ("VpcId", &vpc),
        ("CidrBlock", THIRD.1),
        ("AvailabilityZone", THIRD.0),
    ])?;
    let subnets = [elements(&described, "subnetId"), elements(&made, "subnetId")].concat();
    let [first, second, third] = &subnets[..] else {
        return expect(false, "three subnets", format!("{subnets:?}")).map(|()| String::new());
    };
    let image = baked::image()?;
    let parameters = [
        ("Rack", CLUSTER),
        ("Vpc", &vpc),
        ("SubnetA", first),
        ("SubnetB", second),
        ("SubnetC", third),
        ("Image", &image),
        ("PatcherImage", "registry.example/volumes-agent:0.1.0"),
    ];
    let numbered: Vec<(String, &str)> = parameters
        .iter()
        .enumerate()
        .flat_map(|(index, (name, value))| {
            let member = format!("Parameters.member.{}", index + 1);
            [(format!("{member}.ParameterKey"), *name), (format!("{member}.ParameterValue"), *value)]
        })
        .collect();
    let mut call = vec![
        ("Action", "CreateStack"),
        ("StackName", CLUSTER),
        ("TemplateBody", &template),
        ("Capabilities.member.1", "CAPABILITY_IAM"),
    ];
    call.extend(numbered.iter().map(|(name, value)| (name.as_str(), *value)));
    cloudformation(&call)?;
    let stack = cloudformation(&[("Action", "DescribeStacks"), ("StackName", CLUSTER)])?;
    let status = elements(&stack, "StackStatus").concat();
    expect(status == "CREATE_COMPLETE", "the stack is CREATE_COMPLETE", &*status)?;
    let resources = elements(
        &cloudformation(&[("Action", "ListStackResources"), ("StackName", CLUSTER)])?,
        "LogicalResourceId",
    );

    let file_systems = efs("GET", "file-systems")?;
    let [file_system] = all(&file_systems, "FileSystems") else {
        return expect(false, "one file system", file_systems.to_string()).map(|()| String::new());
    };
    let id = text(&file_system["FileSystemId"]);
    let targets = efs("GET", &format!("mount-targets?FileSystemId={id}"))?;
    let targets: Vec<(&str, &str)> = all(&targets, "MountTargets")
        .iter()
        .map(|target| (text(&target["AvailabilityZoneName"]), text(&target["IpAddress"])))
        .collect();
    expect(
        file_system["Encrypted"] == true && targets.len() == 3,
        "an encrypted file system with a mount target in each of three zones",
        format!("{file_system} {targets:?}"),
    )?;
    // moto may give the addresses that the lab's own mount targets had.
    let is_new =
        |zone: &str, address: &str| network::ZONES.contains(&zone) && !network::GATEWAYS.contains(&address);
    for (_, address) in targets.iter().filter(|(zone, address)| is_new(zone, address)) {
        network::address(address, true)?;
    }
    let template = ec2(&[
        ("Action", "DescribeLaunchTemplateVersions"),
        (
            "LaunchTemplateId",
            &elements(&ec2(&[("Action", "DescribeLaunchTemplates")])?, "launchTemplateId").concat(),
        ),
    ])?;
    expect(
        elements(&template, "imageId") == [image.clone()]
            && template.contains("<httpTokens>required</httpTokens>"),
        format!("the launch template names {image} and requires IMDSv2"),
        template,
    )?;
    Ok(format!(
        "{} resources: {}; {id} at {targets:?}, instances of {image}",
        resources.len(),
        resources.join(", ")
    ))
}

/// What the lab made by itself is not there on an account that begins with a stack.
fn no_file_system_is_left() -> Result<(), Error> {
    for file_system in all(&efs("GET", "file-systems")?, "FileSystems") {
        let id = text(&file_system["FileSystemId"]);
        for target in all(&efs("GET", &format!("mount-targets?FileSystemId={id}"))?, "MountTargets") {
            efs("DELETE", &format!("mount-targets/{}", text(&target["MountTargetId"])))?;
        }
        efs("DELETE", &format!("file-systems/{id}"))?;
    }
    Ok(())
}
