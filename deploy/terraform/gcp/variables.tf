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
  description = "What names of service accounts begin with, of which Google takes 30 characters."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,15}$", var.short_name))
    error_message = "Lower case, digits and dashes, at most 16 characters."
  }
}

variable "project" {
  type        = string
  description = "The project's id."
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
  description = "How long each object of the vault stays, whoever asks."
}

variable "lock_for_good" {
  type        = bool
  default     = false
  description = "Whether the retention policy is locked: then it cannot be shortened by anybody, the project's owner included."
}

variable "namespace" {
  type        = string
  default     = "orchestrai"
  description = "Of the cluster's service accounts."
}
