# An ECS-optimised image with volumes-agent baked in, from the package that operators install as well. `make package` first, then
#
#   packer init packer && packer build -var region=eu-west-1 -var version=0.1.0 -var package=dist/volumes-agent-0.1.0-1.x86_64.rpm packer

variable "region" {
  type        = string
  description = "Where the image is built, and left."
}

variable "package" {
  type        = string
  description = "The package: .rpm for Amazon Linux 2023, .deb for Debian."
}

variable "version" {
  type        = string
  description = "The package's version, for the image's name and tags."
}

variable "distribution" {
  type        = string
  default     = "al2023"
  description = "The base image: al2023 (ECS-optimised Amazon Linux 2023) or debian (Debian 12; brings Docker, not the ECS agent)."
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "What the image is built on."
}

variable "kms_key_id" {
  type        = string
  default     = null
  description = "The key of the image's volumes; else the account's default key of EBS."
}

variable "subnet_id" {
  type        = string
  default     = null
  description = "Where the building instance runs; else the default VPC's."
}

# The next ones are for builds against something else than AWS: the tests'.
variable "endpoint" {
  type    = string
  default = null
}

variable "ssh_host" {
  type    = string
  default = null
}

variable "ssh_private_key_file" {
  type    = string
  default = null
}

variable "ssh_keypair_name" {
  type    = string
  default = null
}

locals {
  bases = {
    al2023 = { name = "al2023-ami-ecs-hvm-*-x86_64", owner = "amazon", user = "ec2-user" }
    debian = { name = "debian-12-amd64-*", owner = "136693071363", user = "admin" }
  }
  base      = local.bases[var.distribution]
  is_aws    = var.endpoint == null
  timestamp = regex_replace(timestamp(), "[^0-9]", "")
}

source "amazon-ebs" "instance" {
  region        = var.region
  instance_type = var.instance_type
  subnet_id     = var.subnet_id

  source_ami_filter {
    filters = {
      name                = local.base.name
      virtualization-type = "hvm"
      root-device-type    = "ebs"
      architecture        = "x86_64"
    }
    owners      = [local.base.owner]
    most_recent = true
  }

  ami_name         = "volumes-agent-${var.distribution}-${var.version}-${local.timestamp}"
  ami_description  = "ECS instance with volumes-agent ${var.version}"
  encrypt_boot     = true
  kms_key_id       = var.kms_key_id
  force_deregister = false

  # The building instance, and the image's instances by default: sessions alone (IMDSv2). Both need Packer 1.7 or later: the tests, which have
  # Debian's 1.6, take them out.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }

  tags = {
    Name                    = "volumes-agent-${var.distribution}-${var.version}"
    "volumes-agent:version" = var.version
    "volumes-agent:base"    = "{{ .SourceAMIName }}"
    "volumes-agent:base-id" = "{{ .SourceAMI }}"
  }

  communicator              = "ssh"
  ssh_username              = local.is_aws ? local.base.user : "root"
  ssh_host                  = var.ssh_host
  ssh_private_key_file      = var.ssh_private_key_file
  ssh_keypair_name          = var.ssh_keypair_name
  ssh_clear_authorized_keys = true

  custom_endpoint_ec2        = var.endpoint
  skip_region_validation     = ! local.is_aws
  skip_metadata_api_check    = ! local.is_aws
  skip_credential_validation = ! local.is_aws
}

build {
  sources = ["source.amazon-ebs.instance"]

  provisioner "file" {
    source      = var.package
    destination = "/tmp/"
  }

  provisioner "shell" {
    execute_command = "sudo -n env {{ .Vars }} sh -eu '{{ .Path }}'"
    scripts = [
      "${path.root}/scripts/install",
      "${path.root}/scripts/forget",
      "${path.root}/scripts/verify",
    ]
  }
}
