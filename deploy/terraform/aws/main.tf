# Stores, roles, keys, queue and registry of one environment. The lock of the vault cannot be added to a bucket later.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 6.0", configuration_aliases = [aws.replica] }
  }
}

locals {
  roles   = toset(["ingest", "vault_writer", "restorer", "pruner", "auditor"])
  buckets = { lake = "${var.name}-lake", vault = "${var.name}-vault", landing = "${var.name}-landing", logs = "${var.name}-logs" }
}

resource "aws_kms_key" "data" {
  description             = "${var.name}: objects at rest"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

module "bucket" {
  source      = "./bucket"
  for_each    = local.buckets
  name        = each.value
  kms_key_arn = aws_kms_key.data.arn
  lock_mode   = each.key == "vault" ? var.lock_mode : ""
  lock_days   = var.lock_days
}

# old versions of the lake go; those of the vault never by a rule of the store: prune decides by signed records
resource "aws_s3_bucket_lifecycle_configuration" "lake" {
  bucket = module.bucket["lake"].id
  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration { noncurrent_days = 30 }
    abort_incomplete_multipart_upload { days_after_initiation = 7 }
  }
}

resource "aws_kms_key" "replica" {
  provider                = aws.replica
  description             = "${var.name}: the vault's replica"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

module "replica" {
  source      = "./bucket"
  providers   = { aws = aws.replica }
  name        = "${var.name}-vault-replica"
  kms_key_arn = aws_kms_key.replica.arn
  lock_mode   = var.lock_mode
  lock_days   = var.lock_days
}

data "aws_iam_policy_document" "replication_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "replication" {
  name               = "${var.name}-replication"
  assume_role_policy = data.aws_iam_policy_document.replication_trust.json
}

resource "aws_iam_role_policy" "replication" {
  role = aws_iam_role.replication.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["s3:GetReplicationConfiguration", "s3:ListBucket"], Resource = module.bucket["vault"].arn },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging", "s3:GetObjectRetention", "s3:GetObjectLegalHold"]
        Resource = "${module.bucket["vault"].arn}/*"
      },
      # no ReplicateDelete: what is deleted here stays there
      { Effect = "Allow", Action = ["s3:ReplicateObject", "s3:ReplicateTags"], Resource = "${module.replica.arn}/*" },
      { Effect = "Allow", Action = ["kms:Decrypt"], Resource = aws_kms_key.data.arn },
      { Effect = "Allow", Action = ["kms:Encrypt", "kms:GenerateDataKey"], Resource = aws_kms_key.replica.arn },
    ]
  })
}

resource "aws_s3_bucket_replication_configuration" "vault" {
  role   = aws_iam_role.replication.arn
  bucket = module.bucket["vault"].id
  rule {
    id     = "everything"
    status = "Enabled"
    filter {}
    delete_marker_replication { status = "Disabled" }
    source_selection_criteria {
      sse_kms_encrypted_objects { status = "Enabled" }
    }
    destination {
      bucket        = module.replica.arn
      storage_class = "STANDARD_IA"
      encryption_configuration { replica_kms_key_id = aws_kms_key.replica.arn }
    }
  }
}

# one role for each thing that is done; a service account of the cluster assumes each by name
data "aws_iam_policy_document" "trust" {
  for_each = setunion(local.roles, local.services)
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${var.oidc_issuer}:sub"
      values   = ["system:serviceaccount:${var.namespace}:orchestrai-${replace(each.value, "_", "-")}"]
    }
  }
}

resource "aws_iam_role" "role" {
  for_each           = local.roles
  name               = "${var.name}-${each.value}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.value].json
}

resource "aws_iam_role_policy" "stores" {
  for_each = local.roles
  role     = aws_iam_role.role[each.value].id
  policy   = templatefile("${path.module}/../../policies/${each.value}.json", local.buckets)
}

resource "aws_iam_role_policy" "key" {
  for_each = local.roles
  role     = aws_iam_role.role[each.value].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = contains(["ingest", "vault_writer", "restorer", "pruner"], each.value) ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"]
      Resource = aws_kms_key.data.arn
    }]
  })
}

# arrivals: the landing tells a queue, and what could not be taken five times lies aside
resource "aws_sqs_queue" "refused" {
  name                      = "${var.name}-arrivals-refused"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "arrivals" {
  name                       = "${var.name}-arrivals"
  visibility_timeout_seconds = 300
  message_retention_seconds  = 1209600
  sqs_managed_sse_enabled    = true
  redrive_policy             = jsonencode({ deadLetterTargetArn = aws_sqs_queue.refused.arn, maxReceiveCount = 5 })
}

resource "aws_sqs_queue_policy" "arrivals" {
  queue_url = aws_sqs_queue.arrivals.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "s3.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.arrivals.arn
      Condition = { ArnEquals = { "aws:SourceArn" = module.bucket["landing"].arn } }
    }]
  })
}

resource "aws_s3_bucket_notification" "landing" {
  depends_on = [aws_sqs_queue_policy.arrivals]
  bucket     = module.bucket["landing"].id
  queue {
    queue_arn = aws_sqs_queue.arrivals.arn
    events    = ["s3:ObjectCreated:*"]
  }
}

resource "aws_iam_role_policy" "arrivals" {
  role = aws_iam_role.role["ingest"].id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], Resource = aws_sqs_queue.arrivals.arn }]
  })
}

resource "aws_ecr_repository" "image" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"
  image_scanning_configuration { scan_on_push = true }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.data.arn
  }
}

# the values are put in by people; orchestrai names them as awssm://NAME
resource "aws_secretsmanager_secret" "instance_db" {
  name       = "${var.name}/instance-db"
  kms_key_id = aws_kms_key.data.arn
}

resource "aws_iam_role_policy" "secrets" {
  for_each = toset(["ingest", "vault_writer", "restorer", "pruner"])
  role     = aws_iam_role.role[each.value].id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = aws_secretsmanager_secret.instance_db.arn }]
  })
}
