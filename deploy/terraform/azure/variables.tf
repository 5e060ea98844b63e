variable "name" {
  type        = string
  description = "What every resource's name begins with, such as shop-orchestrai-production."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,40}$", var.name))
    error_message = "Lower case, digits and dashes, at most 41 characters."
  }
}

variable "short_name" {
  type        = string
  description = "What names of accounts begin with, of which Azure takes 24 letters and digits, one in the world."
  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,14}$", var.short_name))
    error_message = "Lower case and digits, at most 15 characters."
  }
}

variable "region" {
  type        = string
  description = "Where everything but the replica lies."
}

variable "replica_region" {
  type        = string
  description = "Where the vault's replica lies."
}

variable "lock_days" {
  type        = number
  default     = 30
  description = "How long each version of a blob of the vault stays, whoever asks."
}

variable "lock_state" {
  type        = string
  default     = "Unlocked"
  description = "Locked cannot be shortened by anybody, the subscription's owner included."
  validation {
    condition     = contains(["Unlocked", "Locked"], var.lock_state)
    error_message = "Unlocked or Locked."
  }
}

variable "namespace" {
  type        = string
  default     = "orchestrai"
  description = "Of the cluster's service accounts."
}

variable "oidc_issuer" {
  type        = string
  description = "Of the cluster whose service accounts are the identities."
}
