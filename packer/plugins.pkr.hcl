# For Packer 1.7 and later: `packer init packer`. Debian's 1.6 has the builder built in and refuses this block: leave this file out there.
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.0"
    }
  }
}
