variable "name" {
  type        = string
  description = "What every resource's name begins with, such as shop-orchestrai-production."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,40}$", var.name))
    error_message = "Lower case, digits and dashes, at most 41 characters."
  }
}

variable "lock_mode" {
  type        = string
  default     = "GOVERNANCE"
  description = "COMPLIANCE cannot be shortened by anybody, the account's owner included."
  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.lock_mode)
    error_message = "GOVERNANCE or COMPLIANCE."
  }
}

variable "lock_days" {
  type        = number
  default     = 30
  description = "How long each object of the vault stays, whoever asks."
}

variable "namespace" {
  type        = string
  default     = "orchestrai"
  description = "Of the cluster's service accounts."
}

variable "oidc_provider_arn" {
  type        = string
  description = "Of the cluster whose service accounts assume the roles."
}

variable "oidc_issuer" {
  type        = string
  description = "Its issuer without https://."
}
